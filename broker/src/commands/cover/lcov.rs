//! Writes a tracefile of `lcov` (`geninfo(1)`, "FILES"), for `genhtml` and other tools.
//!
//! The coverage map does not count how often a point was reached, so all counts are 0 or 1.

use super::model::{Coverage, FileCoverage, UNKNOWN};
use crate::printable;
use std::io::{self, Write};

/// Writes the tracefile.
///
/// # Errors
/// If writing to `out` fails.
pub fn write(coverage: &Coverage, out: &mut impl Write) -> io::Result<()> {
    // genhtml fails if a file does not exist.
    let mut known = coverage.files.iter().filter(|file| file.path != UNKNOWN);
    known.try_for_each(|file| write_file(file, out))
}

fn write_file(file: &FileCoverage, out: &mut impl Write) -> io::Result<()> {
    let FileCoverage { path, totals, functions, lines } = file;
    writeln!(out, "TN:\nSF:{}", printable::line(path))?;
    for function in functions {
        // An unknown line is 0, which is not valid here.
        writeln!(out, "FN:{},{}", function.line.max(1), printable::line(&function.name))?;
    }
    for function in functions {
        let count = u8::from(function.points.is_reached());
        writeln!(out, "FNDA:{count},{}", printable::line(&function.name))?;
    }
    writeln!(out, "FNF:{}\nFNH:{}", totals.functions.coverable, totals.functions.covered)?;
    for (line, points) in lines {
        writeln!(out, "DA:{line},{}", u8::from(points.is_reached()))?;
    }
    writeln!(out, "LF:{}\nLH:{}\nend_of_record", totals.lines.coverable, totals.lines.covered)
}
