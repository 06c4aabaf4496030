//! `kcov-broker artifacts`: lists crash artifacts.

use crate::artifact::record::{Artifact, FILE, Sightings};
use crate::artifact::store;
use crate::logs::print_message;
use crate::printable;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `artifacts`.
#[derive(Clone, Debug, clap::Args)]
pub struct ArtifactsArgs {
    /// Directory that was passed to `run --artifacts`
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// The summary of an artifact.
#[derive(Debug, Serialize)]
struct Line {
    name: String,
    path: PathBuf,
    end: Option<String>,
    call: Option<String>,
    place: Option<String>,
    sightings: Option<Sightings>,
    /// Why the artifact cannot be read.
    error: Option<String>,
}

impl Line {
    fn of(directory: &Path, name: String) -> Self {
        let path = directory.join(&name);
        let sightings = store::sightings(&path);
        let (artifact, error) = match Artifact::load(&path) {
            Ok(artifact) => (Some(artifact), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let place = artifact.as_ref().and_then(Artifact::place);
        let (end, call) = artifact.map(|artifact| (artifact.end.name(), artifact.call)).unzip();
        Line { name, path, end, call, place, sightings, error }
    }

    fn text(&self) -> String {
        let times = self.sightings.map_or(1, |sightings| sightings.count);
        let what = match (&self.call, &self.error) {
            (Some(call), _) => call.clone(),
            (None, error) => error.clone().unwrap_or_default(),
        };
        let place = self
            .place
            .as_deref()
            .map(|place| format!("\n    {}", printable::line(place)))
            .unwrap_or_default();
        format!("{}  {times} x  {}{place}", self.name, printable::line(&what))
    }
}

/// Lists artifacts, most recently seen first.
///
/// # Errors
/// If the directory cannot be read, or writing to standard output fails.
pub fn run(args: &ArtifactsArgs) -> anyhow::Result<ExitCode> {
    let names = store::names(&args.directory)?;
    let is_artifact = |name: &String| args.directory.join(name).join(FILE).symlink_metadata().is_ok();
    let (names, others): (Vec<_>, Vec<_>) = names.into_iter().partition(is_artifact);
    let mut lines: Vec<Line> = names.into_iter().map(|name| Line::of(&args.directory, name)).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.sightings.map(|sightings| sightings.last)));
    let mut out = std::io::stdout().lock();
    for line in &lines {
        let text = if args.json { printable::to_json(line)? } else { line.text() };
        writeln!(out, "{text}")?;
    }
    let (shown, skipped) = (args.directory.display(), others.len());
    if skipped > 0 {
        print_message(format_args!("skipped {skipped} folders without an artifact in {shown}"));
    }
    if lines.is_empty() && !args.json {
        writeln!(out, "no artifacts in {}", printable::line(&shown.to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}
