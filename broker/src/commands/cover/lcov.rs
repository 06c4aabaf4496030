//! The tracefile of `lcov` (`geninfo(1)`, "FILES"), for `genhtml` and whatever else reads it.
//!
//! A point says that it was reached and not how often, so counts are 0 and 1.

use super::model::{Coverage, FileCoverage, UNKNOWN};
use std::io::{self, Write};

/// Writes the tracefile.
///
/// # Errors
/// Those of `out`.
pub fn write(coverage: &Coverage, out: &mut impl Write) -> io::Result<()> {
    // Readers of a tracefile look for each file.
    let mut known = coverage.files.iter().filter(|file| file.path != UNKNOWN);
    known.try_for_each(|file| write_file(file, out))
}

fn write_file(file: &FileCoverage, out: &mut impl Write) -> io::Result<()> {
    let FileCoverage { path, totals, functions, lines } = file;
    writeln!(out, "TN:\nSF:{}", one_line(path))?;
    for function in functions {
        // There is no line 0 for one whose line is not known.
        writeln!(out, "FN:{},{}", function.line.max(1), one_line(&function.name))?;
    }
    for function in functions {
        let count = u8::from(function.points.is_reached());
        writeln!(out, "FNDA:{count},{}", one_line(&function.name))?;
    }
    writeln!(out, "FNF:{}\nFNH:{}", totals.functions.coverable, totals.functions.covered)?;
    for (line, points) in lines {
        writeln!(out, "DA:{line},{}", u8::from(points.is_reached()))?;
    }
    writeln!(out, "LF:{}\nLH:{}\nend_of_record", totals.lines.coverable, totals.lines.covered)
}

/// A text that cannot end its line: names and paths come from binaries.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
