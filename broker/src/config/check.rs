//! `kcov-broker check`: all that is wrong with a configuration.

use super::errors::{ConfigError, Place};
use super::{Config, MAX_FILE, Source, probe};
use anyhow::Context;
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `kcov-broker check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if nothing is wrong, 1 if something is.")]
pub struct CheckArgs {
    /// The configuration
    file: PathBuf,

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
    let verdict = judge(&args.file);
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

fn judge(path: &Path) -> Verdict {
    let checked = read(path).map_err(|error| {
        let place = Place { file: path.display().to_string(), line: 0, key: String::new() };
        vec![ConfigError { place, message: format!("{error:#}") }]
    });
    let checked = checked.and_then(|text| {
        let config = Config::parse(&text, &Source::file(path)).map_err(|errors| errors.0)?;
        probe::config(&config).map(|()| config).map_err(|errors| errors.0)
    });
    match checked {
        Ok(config) => {
            let tenants = config.tenants.into_iter().map(|tenant| tenant.name).collect();
            Verdict { valid: true, tenants, errors: Vec::new() }
        }
        Err(errors) => Verdict { valid: false, tenants: Vec::new(), errors },
    }
}

/// The text of a file, or of standard input if it is `-`.
///
/// # Errors
/// If it cannot be read, is too long, or no text.
pub fn read(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let text = match path.to_str() {
        Some("-") => bounded(std::io::stdin().lock()),
        _ => bounded(File::open(path).with_context(cannot)?),
    };
    text.with_context(cannot)
}

fn bounded(reader: impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    anyhow::ensure!(bytes.len() as u64 <= MAX_FILE, "it is longer than {MAX_FILE} bytes");
    String::from_utf8(bytes).context("it is no UTF-8 text")
}
