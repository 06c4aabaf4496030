//! Collects the coverage points of the binaries of a run.

use super::model::{Point, UNKNOWN};
use super::source::{self, Sources};
use crate::symbolize::{Kind, Location, SourceLine, Symbolizer};
use kcov_proto::cover_map::CoverMarks;
use kcov_proto::site::SiteKind;
use std::path::PathBuf;

/// The points that can be covered. Comparisons are left out: clients that collect PCs do not see them.
pub(super) struct CoverablePoints {
    /// Points of the handlers.
    handlers: Vec<Point>,
    /// Points of the worker program itself, which traces calls that no handler claims.
    worker: Vec<Point>,
    /// Handler libraries without points.
    pub(super) uninstrumented: Vec<PathBuf>,
}

impl CoverablePoints {
    pub(super) fn collect(symbolizer: &Symbolizer, libraries: &[PathBuf], sources: &mut Sources) -> Self {
        let mut points =
            CoverablePoints { handlers: Vec::new(), worker: Vec::new(), uninstrumented: Vec::new() };
        for module in symbolizer.modules() {
            let built = source::built(module.path());
            let before = points.handlers.len();
            for (pc, location) in module.points() {
                let kind = location.as_ref().map(|site| site.kind);
                let is_of_worker = location.as_ref().is_some_and(is_of_worker);
                let mut point = point(pc, location);
                point.file = sources.locate(&point.file, built);
                let mut located =
                    |SourceLine { file, line }| SourceLine { file: sources.locate(&file, built), line };
                point.lines = module.lines(pc).map(|lines| lines.into_iter().map(&mut located).collect());
                if kind != Some(Kind::Site(SiteKind::Cmp)) {
                    if is_of_worker { &mut points.worker } else { &mut points.handlers }.push(point);
                }
            }
            if points.handlers.len() == before {
                points
                    .uninstrumented
                    .extend(libraries.iter().find(|library| *library == module.path()).cloned());
            }
        }
        points
    }

    /// Returns how many points are marked.
    pub(super) fn count_marked(&self, marks: &CoverMarks) -> u64 {
        let all = self.handlers.iter().chain(&self.worker);
        all.filter(|point| marks.contains(point.pc)).count() as u64
    }

    /// Returns the points to report: those of the handlers. Without any, those of the worker program, unless there are
    /// handler libraries; then only if the user selected files with `--include`.
    pub(super) fn into_reported(self, has_include: bool) -> Vec<Point> {
        if self.handlers.is_empty() && (has_include || self.uninstrumented.is_empty()) {
            self.worker
        } else {
            self.handlers
        }
    }
}

fn is_of_worker(site: &Location) -> bool {
    site.kind == Kind::Site(SiteKind::Call) || site.function.starts_with("kcov_worker::trace::")
}

fn point(pc: u64, location: Option<Location>) -> Point {
    let unknown = || UNKNOWN.to_owned();
    let Some(Location { function, file, line, .. }) = location else {
        return Point { pc, function: unknown(), file: unknown(), line: 0, lines: None };
    };
    Point { pc, function, file: file.unwrap_or_else(unknown), line: line.unwrap_or(0), lines: None }
}
