//! The command line of `run`: its defaults, and the options that follow from the table of quotas.

use super::*;
use crate::cli::Cli;
use crate::config::keys;
use crate::launch::quotas::{Quotas, written};
use clap::{CommandFactory, Parser};
use kcov_proto::quota::{ROWS, Unit};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: RunArgs,
}

fn options(words: &[&str]) -> TenantOptions {
    let words = [&["run"][..], words, &["true"]].concat();
    Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args.options()
}

#[test]
fn the_command_line_and_a_configuration_have_the_same_defaults() {
    assert_eq!(options(&[]), TenantOptions::default());
}

#[test]
fn each_quota_has_an_option_that_sets_only_it() {
    for row in ROWS {
        let text = if row.unit == Unit::Time { "7s" } else { "7" };
        let number = if row.unit == Unit::Time { 7_000_000_000 } else { 7 };
        let mut expected = Quotas::default();
        (row.set)(&mut expected, number);
        assert_eq!(options(&["--artifacts", "/", row.option, text]).quotas, expected, "{}", row.option);
    }
}

/// Option, key, help and manual pages of a quota all come from its row.
#[test]
fn a_row_is_in_help_and_manual_pages() {
    let mut program = Cli::command();
    let run = program.find_subcommand_mut("run").expect("a command");
    let help = plain(&run.render_long_help().to_string());
    let pages = ["run", "kcov-broker.toml"].map(|name| {
        let page = crate::commands::manual::page(Cli::command(), Some(name)).expect("a page");
        let page = String::from_utf8(page).expect("text");
        let markup = [("\\-", "-"), ("\\*(Aq", "'"), ("\\fR", ""), ("\\fB", "")];
        plain(&markup.iter().fold(page, |page, (from, to)| page.replace(from, to)))
    });
    let limits = plain(include_str!("../../../../deploy/LIMITS.md"));
    for row in ROWS {
        let default = written(row.unit, row.default);
        assert!(help.contains(row.option) && help.contains(row.purpose), "{}: help", row.option);
        assert!(help.contains(&format!("[default: {default}]")), "{}: {default}", row.option);
        assert!(
            pages[0].contains(row.option) && pages[0].contains(row.purpose),
            "{}: page of run",
            row.option
        );
        assert!(
            pages[1].contains(row.key) && pages[1].contains(row.purpose),
            "{}: page of the file",
            row.key
        );
        assert!(keys::QUOTAS.keys.iter().any(|key| key.name == row.key), "{}: key", row.key);
        assert!(limits.contains(&format!("| `{}` | `{}` |", row.option, row.key)), "{}: LIMITS.md", row.key);
    }
}

/// `text` with one blank between words.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
