//! `kcov-broker check`: all that is wrong with a configuration.

use super::errors::ConfigError;
use super::{ConfigErrors, Draft, Source, text};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `kcov-broker check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if nothing is wrong, 1 if something is. A warning is nothing wrong.")]
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
    /// What is no error, and may well be meant otherwise.
    warnings: Vec<ConfigError>,
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
    for ConfigError { place, message } in &verdict.warnings {
        eprintln!("{}", ConfigError { place: place.clone(), message: format!("warning: {message}") });
    }
    let (file, tenants, errors) = (args.file.display(), verdict.tenants.len(), verdict.errors.len());
    let warnings = match verdict.warnings.len() {
        0 => String::new(),
        count => format!("; warnings: {count}"),
    };
    match errors {
        0 => writeln!(out, "{file}: nothing is wrong; tenants: {tenants}{warnings}")?,
        count => eprintln!("{file}: errors: {count}{warnings}"),
    }
    Ok(code)
}

fn judge(args: &CheckArgs) -> Verdict {
    let mut warnings = Vec::new();
    let checked = text::read(&args.file).and_then(|text| {
        let draft = Draft::read(&text, &Source::file(&args.file));
        if args.text {
            return draft.checked();
        }
        warnings.extend(draft.doubts());
        draft.probed()
    });
    match checked {
        Ok(config) => {
            let tenants = config.tenants.into_iter().map(|tenant| tenant.name).collect();
            Verdict { valid: true, tenants, errors: Vec::new(), warnings }
        }
        Err(ConfigErrors(errors)) => Verdict { valid: false, tenants: Vec::new(), errors, warnings },
    }
}
