//! The coverage report of a run, which the renderers take as input.

use super::model::{Coverage, FileCoverage};
use super::source::{Source, Sources};
use kcov_proto::cover_map::CoverMarks;
use kcov_proto::site::{ID_BASE, TEXT_END};
use serde::Serialize;
use std::path::PathBuf;

/// The coverage report of a run.
#[derive(Debug, Serialize)]
pub struct CoverageReport {
    /// The command line.
    #[serde(rename = "command")]
    pub title: String,
    /// Coverage by file, function and line.
    #[serde(flatten)]
    pub coverage: Coverage,
    /// Sources, in the order of `coverage.files`.
    #[serde(skip)]
    pub(super) sources: Vec<Source>,
    /// Handler libraries without coverage points.
    #[serde(skip)]
    pub(super) uninstrumented: Vec<PathBuf>,
    /// Number of marks without a coverage point.
    pub others: UnknownMarks,
}

/// Numbers of marks that match no coverage point of the binaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnknownMarks {
    /// Explicit ids, which have no source location.
    pub ids: u64,
    /// All others: PCs that a handler or a compromised worker made up.
    pub unknown: u64,
}

impl UnknownMarks {
    /// Counts the marks besides the `known` ones.
    pub(super) fn count(marks: &CoverMarks, known: u64) -> Self {
        let ids = marks.pcs().filter(|pc| (ID_BASE..TEXT_END).contains(pc)).count() as u64;
        UnknownMarks { ids, unknown: marks.count().saturating_sub(known).saturating_sub(ids) }
    }
}

impl CoverageReport {
    pub(super) fn new(
        title: String,
        coverage: Coverage,
        sources: &Sources,
        uninstrumented: Vec<PathBuf>,
        others: UnknownMarks,
    ) -> Self {
        let sources = coverage.files.iter().map(|file| sources.read(&file.path)).collect();
        CoverageReport { title, coverage, sources, uninstrumented, others }
    }

    /// The files with their sources.
    pub fn files(&self) -> impl Iterator<Item = (&FileCoverage, &Source)> {
        self.coverage.files.iter().zip(&self.sources)
    }

    /// Notes that help to interpret the numbers.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let UnknownMarks { ids, unknown } = self.others;
        let count = |number: u64, what: &str| (number > 0).then(|| format!("not counted: {number} {what}"));
        let remarks = [
            count(ids, "explicit ids, which have no source location"),
            count(unknown, "PCs that are not coverage points of the handlers"),
        ];
        // A handler that records explicit ids may not be instrumented on purpose.
        let uninstrumented = self.uninstrumented.iter().filter(|_| ids == 0).map(|library| {
            let path = library.display();
            format!(
                "{path} has no coverage points: compile it with -fsanitize-coverage=trace-pc,trace-cmp -g"
            )
        });
        remarks.into_iter().flatten().chain(uninstrumented).collect()
    }
}
