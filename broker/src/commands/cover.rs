//! `kcov-broker cover`: runs a command as `run` does, then reports the coverage of the handlers.
//!
//! A worker marks each PC that its code reaches in the coverage map of the run ([`kcov_proto::cover_map`]). It does so
//! from the time when the handlers are loaded, for all callers: also if no area is armed, the area is full, or the
//! client collects comparisons or resets its area. The marks survive dead workers. When the command has ended, this
//! process, the front, reads the map and compares it with the coverage points of the binaries. The broker is not
//! involved. All that a compromised worker can do is to claim that it covered points.
//!
//! | module | purpose |
//! |---|---|
//! | [`map`] | creates and reads the coverage map |
//! | `points` | collects the coverage points of the binaries |
//! | [`model`] | coverage by file, function and line |
//! | [`source`] | finds source files |
//! | [`report`] | the report that the renderers take as input |
//! | [`text`], [`lcov`], [`html`] | renderers: summary, tracefile, HTML page |

pub mod html;
pub mod lcov;
pub mod map;
pub mod model;
mod points;
pub mod report;
pub mod source;
#[cfg(test)]
mod tests;
pub mod text;

use crate::commands::run::{self, RunArgs};
use crate::launch::folder;
use crate::logs;
use crate::printable;
use crate::symbolize::Symbolizer;
use anyhow::Context;
use model::Coverage;
use points::CoverablePoints;
use report::{CoverageReport, UnknownMarks};
use source::Sources;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cover`.
#[derive(Debug, clap::Args)]
pub struct CoverArgs {
    /// Write a tracefile for lcov and genhtml to FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    lcov: Option<PathBuf>,

    /// Write an HTML page with annotated sources to FILE; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write counts by file, function and line to FILE, as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Only report files whose path matches GLOB, where * also matches /; can be repeated. Code of the worker program
    /// itself, which traces calls that no handler claims, is only reported if no handler has coverage points and, with
    /// handler libraries, only if this option is given
    #[arg(long, value_name = "GLOB")]
    include: Vec<glob::Pattern>,

    /// Do not report files whose path matches GLOB; can be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<glob::Pattern>,

    /// Search DIR for sources with a relative path, before the current directory and the directories above the handlers;
    /// can be repeated
    #[arg(long = "source", value_name = "DIR")]
    sources: Vec<PathBuf>,

    /// Print no summary
    #[arg(long)]
    no_summary: bool,

    #[command(flatten)]
    run: RunArgs,
}

/// Runs a command and writes the reports. Returns the command's exit status.
///
/// # Errors
/// If kcov-broker fails before the command runs, or if a report cannot be written.
pub fn run(args: CoverArgs) -> anyhow::Result<ExitCode> {
    let CoverArgs { lcov, html, json, include, exclude, sources: directories, no_summary, run: run_args } =
        args;
    let modules = run_args.modules()?;
    let title = title(run_args.command());
    // Create the files first, so that a wrong path fails now and not after a long run.
    let [lcov, html, json] = [lcov, html, json].map(|path| path.map(Output::create).transpose());
    let (lcov, html, json) = (lcov?, html?, json?);
    let (program, libraries) = modules.split_first().context("a run has a worker program")?;
    let symbolizer = Symbolizer::new(program, libraries.iter().map(PathBuf::as_path))?;

    let map = map::create().context("cannot create the coverage map")?;
    let status = run::run_covered(run_args, Some(map.try_clone()?))?;

    let marks = map::read(map).context("cannot read the coverage map")?;
    if marks.count() == 0 && status >= crate::front::BROKER_FAILED {
        // The command did not start; the front has reported why.
        return Ok(ExitCode::from(status));
    }
    let mut sources = Sources::new(&directories, &modules);
    let points = CoverablePoints::collect(&symbolizer, libraries, &mut sources);
    let uninstrumented = points.uninstrumented.clone();
    let others = UnknownMarks::count(&marks, points.count_marked(&marks));
    let wanted = points
        .into_reported(!include.is_empty())
        .into_iter()
        .filter(|point| is_wanted(&point.file, &include, &exclude));
    let coverage = Coverage::new(wanted, |pc| marks.contains(pc));
    let report = CoverageReport::new(title, coverage, &sources, uninstrumented, others);
    if let Some(lcov) = lcov {
        lcov.write(|out| lcov::write(&report.coverage, out))?;
    }
    if let Some(html) = html {
        html.write(|out| html::write(&report, out))?;
    }
    if let Some(json) = json {
        json.write(|out| out.write_all(printable::to_json_pretty(&report)?.as_bytes()))?;
    }
    if !no_summary {
        // Standard output belongs to the command.
        let mut summary = Vec::new();
        text::write(&report, &mut summary).context("cannot format the summary")?;
        logs::print_line(String::from_utf8_lossy(&summary).trim_end());
    }
    Ok(ExitCode::from(status))
}

/// The command line, for people.
fn title(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

fn is_wanted(path: &str, include: &[glob::Pattern], exclude: &[glob::Pattern]) -> bool {
    let matches = |patterns: &[glob::Pattern]| patterns.iter().any(|pattern| pattern.matches(path));
    (include.is_empty() || matches(include)) && !matches(exclude)
}

/// An output file for a report.
struct Output {
    path: PathBuf,
    file: OwnedFd,
}

impl Output {
    fn create(path: PathBuf) -> anyhow::Result<Self> {
        let file = match path.as_os_str() == "-" {
            true => Ok(io::stdout().as_fd().try_clone_to_owned()?),
            false => folder::create_output(&path).map(OwnedFd::from),
        };
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Output { path, file })
    }

    fn write(self, render: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> anyhow::Result<()> {
        let Output { path, file } = self;
        let mut out = BufWriter::new(File::from(file));
        render(&mut out)
            .and_then(|()| out.flush())
            .with_context(|| format!("cannot write {}", path.display()))
    }
}
