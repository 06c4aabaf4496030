//! `kcov-broker check`: all that is wrong with a configuration.

use super::errors::ConfigError;
use super::{ConfigErrors, Draft, Source, text};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `kcov-broker check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if nothing is wrong, 1 if something is.")]
pub struct CheckArgs {
    /// The configuration
    file: PathBuf,

    /// Leave out what this machine says, of files, users, groups and rights: only what is wrong with the text itself
    #[arg(long)]
    text: bool,

    /// Write one JSON object instead of a line for each error
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Verdict {
    valid: bool,
    tenants: Vec<String>,
    errors: Vec<ConfigError>,
}

/// Checks a file. Returns whether it is right.
///
/// # Errors
/// If the result cannot be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let verdict = judge(args);
    let code = if verdict.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&verdict)?)?;
        return Ok(code);
    }
    for error in &verdict.errors {
        eprintln!("{error}");
    }
    let (file, tenants, errors) = (args.file.display(), verdict.tenants.len(), verdict.errors.len());
    match errors {
        0 => writeln!(out, "{file}: nothing is wrong; tenants: {tenants}")?,
        count => eprintln!("{file}: errors: {count}"),
    }
    Ok(code)
}

fn judge(args: &CheckArgs) -> Verdict {
    let checked = text::read(&args.file).and_then(|text| {
        let draft = Draft::read(&text, &Source::file(&args.file));
        if args.text { draft.checked() } else { draft.probed() }
    });
    match checked {
        Ok(config) => {
            let tenants = config.tenants.into_iter().map(|tenant| tenant.name).collect();
            Verdict { valid: true, tenants, errors: Vec::new() }
        }
        Err(ConfigErrors(errors)) => Verdict { valid: false, tenants: Vec::new(), errors },
    }
}
