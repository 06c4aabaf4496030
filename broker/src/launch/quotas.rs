//! Quotas on the command line. The options follow from the table in [`kcov_proto::quota`].

pub use kcov_proto::quota::Quotas;

use super::parse;
use clap::builder::{Arg, ValueParser};
use clap::{ArgMatches, Command, FromArgMatches};
use kcov_proto::quota::{ROWS, Row, Unit};
use std::time::Duration;

/// The options of `kcov-broker run` that set quotas, one for each row of the table.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuotaArgs(pub Quotas);

impl clap::Args for QuotaArgs {
    fn augment_args(command: Command) -> Command {
        command.args(ROWS.iter().map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for QuotaArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = QuotaArgs::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for row in &ROWS {
            if let Some(number) = matches.get_one::<u64>(long(row)) {
                (row.set)(&mut self.0, *number);
            }
        }
        Ok(())
    }
}

/// The name of the option, without its dashes.
fn long(row: &Row) -> &'static str {
    row.option.trim_start_matches('-')
}

fn argument(row: &Row) -> Arg {
    let (value_name, parser, hint) = match row.unit {
        Unit::Bytes => ("BYTES", ValueParser::from(parse::bytes), ". BYTES takes the suffixes K, M and G"),
        Unit::Count => ("N", clap::value_parser!(u64).into(), ""),
        Unit::Time => {
            ("TIME", ValueParser::from(nanoseconds), ". TIME is in seconds, or has a unit (500ms, 2s)")
        }
    };
    Arg::new(long(row))
        .long(long(row))
        .value_name(value_name)
        .value_parser(parser)
        .default_value(written(row.unit, row.default))
        .help(format!("{}{hint}", row.purpose))
        .help_heading("Quotas")
        .requires_all(row.requires.iter().copied())
}

fn nanoseconds(text: &str) -> Result<u64, String> {
    parse::time(text).map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// A value as operators write it.
#[must_use]
pub fn written(unit: Unit, number: u64) -> String {
    match unit {
        Unit::Bytes => parse::size(number),
        Unit::Count => number.to_string(),
        Unit::Time => format!("{:?}", Duration::from_nanos(number)),
    }
}
