//! The summary for a terminal: a line a file, and below it one a function.

use super::Report;
use super::model::{FileCoverage, Tally, Totals, UNKNOWN};
use super::source::Source;
use std::io::{self, Write};

/// Functions of a file that were not reached, of which more than this are but counted.
const UNREACHED: usize = 20;

/// Writes the summary.
///
/// # Errors
/// Those of `out`.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Totals { points, lines, functions } = report.coverage.totals;
    writeln!(out, "covered: {} points, {} lines, {} functions", of(points), of(lines), of(functions))?;
    for (file, source) in report.files() {
        let path = printable(&file.path);
        writeln!(out, "{} {path}{}", row(file.totals.points), note(file, source))?;
        write_functions(file, out)?;
    }
    report.remarks().into_iter().try_for_each(|remark| writeln!(out, "{remark}"))
}

fn write_functions(file: &FileCoverage, out: &mut impl Write) -> io::Result<()> {
    let unreached = file.totals.functions.coverable - file.totals.functions.covered;
    let all = unreached <= UNREACHED;
    for function in file.functions.iter().filter(|function| all || function.points.is_reached()) {
        writeln!(out, "{}   {}:{}", row(function.points), printable(&function.name), function.line)?;
    }
    if all { Ok(()) } else { writeln!(out, "{:>23}and {unreached} functions that were not reached", "") }
}

fn of(tally: Tally) -> String {
    format!("{} of {} ({}%)", tally.covered, tally.coverable, tally.percent())
}

fn row(tally: Tally) -> String {
    format!("{:>6} of {:>6} {:>4}%", tally.covered, tally.coverable, tally.percent())
}

fn note(file: &FileCoverage, source: &Source) -> &'static str {
    match source {
        Source::Missing if file.path == UNKNOWN => " (the binary does not tell: build it with -g)",
        Source::Found { newer: false, .. } => "",
        Source::Found { newer: true, .. } => " (changed since it was built: lines may be wrong)",
        Source::Missing => " (source not found)",
    }
}

/// Without what a terminal would take for a command: names and paths come from binaries.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}
