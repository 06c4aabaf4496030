//! `kcov-broker cover`: runs a command as `run` does, then says what the handlers covered.
//!
//! A worker marks each PC that its code reaches in a map of the run ([`kcov_proto::cover_map`]): from the loading of the
//! handlers on, for every caller, whether or not it has an area armed, reads comparisons, resets, or is full. The marks
//! stay when workers die. When the command ends, this process, the front, reads the map and holds it against the points
//! that the binaries have; so the broker has no part in it, and a worker that was taken over can but claim to have
//! covered points.
//!
//! | module | holds |
//! |---|---|
//! | [`map`] | the map, made and read |
//! | [`model`] | points and marks as files, functions and lines |
//! | [`source`] | the source files |
//! | [`text`], [`lcov`], [`html`] | the model as a summary, a tracefile, a page |

pub mod html;
pub mod lcov;
pub mod map;
pub mod model;
pub mod source;
pub mod text;

#[cfg(test)]
mod tests;

use crate::commands::run::{self, RunArgs};
use crate::symbolize::{Kind, Location, SourceLine, Symbolizer};
use anyhow::Context;
use kcov_proto::cover_map::CoverMarks;
use kcov_proto::site::{ID_BASE, SiteKind, TEXT_END};
use model::{Coverage, FileCoverage, Point, UNKNOWN};
use serde::Serialize;
use source::{Source, Sources};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `cover`.
#[derive(Debug, clap::Args)]
pub struct CoverArgs {
    /// Write a tracefile of lcov to FILE, for genhtml; - is standard output
    #[arg(long, value_name = "FILE")]
    lcov: Option<PathBuf>,

    /// Write a page with the sources to FILE, for a browser; - is standard output
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write counts by file, function and line to FILE, as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Leave out files but those whose path matches GLOB, where * matches / too; again for more. Code of the worker program
    /// itself, which traces calls that no handler claims, is told of only where no handler has coverage points; beside a
    /// library, only with this option
    #[arg(long, value_name = "GLOB")]
    include: Vec<glob::Pattern>,

    /// Leave out files whose path matches GLOB; again for more
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<glob::Pattern>,

    /// Look in DIR for sources with a relative path, before the current directory and those above the handlers; again
    /// for more
    #[arg(long = "source", value_name = "DIR")]
    sources: Vec<PathBuf>,

    /// Print no summary
    #[arg(long)]
    no_summary: bool,

    #[command(flatten)]
    run: RunArgs,
}

/// Runs a command, and reports. Returns its status.
///
/// # Errors
/// If kcov-broker itself fails before the command runs, or a report cannot be written.
pub fn run(args: CoverArgs) -> anyhow::Result<ExitCode> {
    let CoverArgs { lcov, html, json, include, exclude, sources: directories, no_summary, run: run_args } =
        args;
    let modules = run_args.modules()?;
    let title = title(run_args.command());
    // Before anything runs: a week's work must not end with a path that cannot be written.
    let [lcov, html, json] = [lcov, html, json].map(|path| path.map(Output::create).transpose());
    let (lcov, html, json) = (lcov?, html?, json?);
    let (program, libraries) = modules.split_first().context("a run has a worker program")?;
    let symbolizer = Symbolizer::new(program, libraries.iter().map(PathBuf::as_path))?;

    let map = map::create().context("cannot make the coverage map")?;
    let status = run::run_covered(run_args, Some(map.try_clone()?))?;

    let marks = map::read(map).context("cannot read the coverage map")?;
    if marks.count() == 0 && status >= crate::front::BROKER_FAILED {
        // It did not start, which has been said.
        return Ok(ExitCode::from(status));
    }
    let mut sources = Sources::new(&directories, &modules);
    let points = Points::of(&symbolizer, libraries, &mut sources);
    let bare = points.bare.clone();
    let others = Others::of(&marks, points.marked(&marks));
    let wanted = points
        .reported(!include.is_empty())
        .into_iter()
        .filter(|point| is_wanted(&point.file, &include, &exclude));
    let coverage = Coverage::new(wanted, |pc| marks.contains(pc));
    let report = Report { bare, ..Report::new(title, coverage, &sources, others) };
    if let Some(lcov) = lcov {
        lcov.write(|out| lcov::write(&report.coverage, out))?;
    }
    if let Some(html) = html {
        html.write(|out| html::write(&report, out))?;
    }
    if let Some(json) = json {
        json.write(|out| Ok(serde_json::to_writer_pretty(out, &report)?))?;
    }
    if !no_summary {
        // To standard error, as the log: standard output is the command's.
        text::write(&report, &mut io::stderr().lock()).context("cannot print the summary")?;
    }
    Ok(ExitCode::from(status))
}

/// The command line, for people.
fn title(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// What can be covered. Comparisons cannot: a client that collects PCs never sees them.
struct Points {
    /// Of the handlers.
    theirs: Vec<Point>,
    /// Of the program itself, which traces calls that no handler claims.
    own: Vec<Point>,
    /// Libraries of handlers that have none.
    bare: Vec<PathBuf>,
}

impl Points {
    fn of(symbolizer: &Symbolizer, libraries: &[PathBuf], sources: &mut Sources) -> Self {
        let mut points = Points { theirs: Vec::new(), own: Vec::new(), bare: Vec::new() };
        for module in symbolizer.modules() {
            let built = source::built(module.path());
            let before = points.theirs.len();
            for (pc, location) in module.points() {
                let kind = location.as_ref().map(|site| site.kind);
                let own = location.as_ref().is_some_and(is_own);
                let mut point = point(pc, location);
                point.file = sources.locate(&point.file, built);
                let mut located =
                    |SourceLine { file, line }| SourceLine { file: sources.locate(&file, built), line };
                point.lines = module.lines(pc).map(|lines| lines.into_iter().map(&mut located).collect());
                if kind != Some(Kind::Site(SiteKind::Cmp)) {
                    if own { &mut points.own } else { &mut points.theirs }.push(point);
                }
            }
            if points.theirs.len() == before {
                points.bare.extend(libraries.iter().find(|library| *library == module.path()).cloned());
            }
        }
        points
    }

    /// How many of all are marked.
    fn marked(&self, marks: &CoverMarks) -> u64 {
        let all = self.theirs.iter().chain(&self.own);
        all.filter(|point| marks.contains(point.pc)).count() as u64
    }

    /// Those to report: the program's own if there is nothing else: beside a library only if the user `asks`
    /// for files by name.
    fn reported(self, asks: bool) -> Vec<Point> {
        if self.theirs.is_empty() && (asks || self.bare.is_empty()) { self.own } else { self.theirs }
    }
}

fn is_own(site: &Location) -> bool {
    site.kind == Kind::Site(SiteKind::Call) || site.function.starts_with("kcov_worker::trace::")
}

fn point(pc: u64, location: Option<Location>) -> Point {
    let unknown = || UNKNOWN.to_owned();
    let Some(Location { function, file, line, .. }) = location else {
        return Point { pc, function: unknown(), file: unknown(), line: 0, lines: None };
    };
    Point { pc, function, file: file.unwrap_or_else(unknown), line: line.unwrap_or(0), lines: None }
}

fn is_wanted(path: &str, include: &[glob::Pattern], exclude: &[glob::Pattern]) -> bool {
    let matches = |patterns: &[glob::Pattern]| patterns.iter().any(|pattern| pattern.matches(path));
    (include.is_empty() || matches(include)) && !matches(exclude)
}

/// Marks that are no points of the binaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Others {
    /// Explicit ids, which have no place in a source.
    pub ids: u64,
    /// Whatever else: PCs that a handler made up, or that a worker that was taken over did.
    pub unknown: u64,
}

impl Others {
    fn of(marks: &CoverMarks, known: u64) -> Self {
        let ids = marks.pcs().filter(|pc| (ID_BASE..TEXT_END).contains(pc)).count() as u64;
        Others { ids, unknown: marks.count().saturating_sub(known).saturating_sub(ids) }
    }
}

/// What is reported of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The command line.
    #[serde(rename = "command")]
    pub title: String,
    /// What was covered.
    #[serde(flatten)]
    pub coverage: Coverage,
    /// The sources, in the order of the files.
    #[serde(skip)]
    sources: Vec<Source>,
    /// Libraries of handlers that have no points.
    #[serde(skip)]
    bare: Vec<PathBuf>,
    /// What else was marked.
    pub others: Others,
}

impl Report {
    fn new(title: String, coverage: Coverage, sources: &Sources, others: Others) -> Self {
        let sources = coverage.files.iter().map(|file| sources.read(&file.path)).collect();
        Report { title, coverage, sources, bare: Vec::new(), others }
    }

    /// The files with their sources.
    pub fn files(&self) -> impl Iterator<Item = (&FileCoverage, &Source)> {
        self.coverage.files.iter().zip(&self.sources)
    }

    /// What a reader of the counts should know.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let Others { ids, unknown } = self.others;
        let count = |number: u64, what: &str| (number > 0).then(|| format!("besides: {number} {what}"));
        let remarks = [
            count(ids, "explicit ids, which have no place in a source"),
            count(unknown, "PCs that are no points of the handlers"),
        ];
        // One that names its points itself has none in its file.
        let bare = self.bare.iter().filter(|_| ids == 0).map(|library| {
            let path = library.display();
            format!(
                "{path} has no coverage points: compile it with -fsanitize-coverage=trace-pc,trace-cmp -g"
            )
        });
        remarks.into_iter().flatten().chain(bare).collect()
    }
}

/// A file for a report.
struct Output {
    path: PathBuf,
    file: OwnedFd,
}

impl Output {
    fn create(path: PathBuf) -> anyhow::Result<Self> {
        use std::os::fd::AsFd;
        let file = match path.as_os_str() == "-" {
            true => io::stdout().as_fd().try_clone_to_owned(),
            false => File::create(&path).map(OwnedFd::from),
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
