//! The summary for a terminal: one line per file, and below it one line per function.

use super::model::{FileCoverage, Ratio, Totals, UNKNOWN};
use super::report::CoverageReport;
use super::source::Source;
use crate::printable;
use std::io::{self, Write};

/// Maximum number of functions of a file that are listed as not reached; if there are more, they are only counted.
const UNREACHED: usize = 20;

/// Writes the summary.
///
/// # Errors
/// If writing to `out` fails.
pub fn write(report: &CoverageReport, out: &mut impl Write) -> io::Result<()> {
    let Totals { points, lines, functions } = report.coverage.totals;
    writeln!(out, "covered: {} points, {} lines, {} functions", of(points), of(lines), of(functions))?;
    for (file, source) in report.files() {
        let path = printable::line(&file.path);
        writeln!(out, "{} {path}{}", row(file.totals.points), note(file, source))?;
        write_functions(file, out)?;
    }
    report.remarks().into_iter().try_for_each(|remark| writeln!(out, "{}", printable::line(&remark)))
}

fn write_functions(file: &FileCoverage, out: &mut impl Write) -> io::Result<()> {
    let unreached = file.totals.functions.coverable - file.totals.functions.covered;
    let all = unreached <= UNREACHED;
    for function in file.functions.iter().filter(|function| all || function.points.is_reached()) {
        writeln!(out, "{}   {}:{}", row(function.points), printable::line(&function.name), function.line)?;
    }
    if all { Ok(()) } else { writeln!(out, "{:>23}and {unreached} functions not reached", "") }
}

fn of(ratio: Ratio) -> String {
    format!("{} of {} ({}%)", ratio.covered, ratio.coverable, ratio.percent())
}

fn row(ratio: Ratio) -> String {
    format!("{:>6} of {:>6} {:>4}%", ratio.covered, ratio.coverable, ratio.percent())
}

fn note(file: &FileCoverage, source: &Source) -> &'static str {
    match source {
        Source::Missing if file.path == UNKNOWN => " (unknown source: build with -g)",
        Source::Found { newer: false, .. } => "",
        Source::Found { newer: true, .. } => " (newer than the binary: lines may be wrong)",
        Source::Missing => " (source not found)",
    }
}
