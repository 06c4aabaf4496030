//! `kcov-broker check`: reports every error of a configuration.

use super::errors::ConfigError;
use super::{ConfigErrors, Draft, Source, text};
use crate::logs::print_line;
use crate::printable;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `kcov-broker check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if there are no errors, 1 if there are. Warnings are not errors.")]
pub struct CheckArgs {
    /// The configuration; - is standard input
    file: PathBuf,

    /// Only check the text itself, and not this machine's files, users, groups and permissions
    #[arg(long)]
    text: bool,

    /// Print one JSON object instead of a line for each error
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct CheckResult {
    valid: bool,
    tenants: Vec<String>,
    errors: Vec<ConfigError>,
    /// Likely mistakes that are not errors.
    warnings: Vec<ConfigError>,
}

/// Checks a file and prints the result. The exit code is 1 if there are errors.
///
/// # Errors
/// If the result cannot be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let result = check(args);
    let code = if result.valid { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", printable::to_json_pretty(&result)?)?;
        return Ok(code);
    }
    for error in &result.errors {
        print_line(error);
    }
    for ConfigError { place, message } in &result.warnings {
        print_line(ConfigError { place: place.clone(), message: format!("warning: {message}") });
    }
    let (file, tenants, errors) = (args.file.display(), result.tenants.len(), result.errors.len());
    let warnings = match result.warnings.len() {
        0 => String::new(),
        count => format!("; warnings: {count}"),
    };
    match errors {
        0 => {
            writeln!(out, "{}: no errors; tenants: {tenants}{warnings}", printable::line(&file.to_string()))?
        }
        count => print_line(format_args!("{file}: errors: {count}{warnings}")),
    }
    Ok(code)
}

fn check(args: &CheckArgs) -> CheckResult {
    let mut warnings = Vec::new();
    let checked = text::read(&args.file).and_then(|text| {
        let draft = Draft::read(&text, &Source::file(&args.file));
        if args.text {
            return draft.checked();
        }
        warnings.extend(draft.warnings());
        draft.probed()
    });
    match checked {
        Ok(config) => {
            let tenants = config.tenants.into_iter().map(|tenant| tenant.name).collect();
            CheckResult { valid: true, tenants, errors: Vec::new(), warnings }
        }
        Err(ConfigErrors(errors)) => CheckResult { valid: false, tenants: Vec::new(), errors, warnings },
    }
}
