//! What was covered, by file, function and line: a pure function of the points of the handlers and of the marks.

use serde::Serialize;
use std::collections::BTreeMap;

/// Stands for a file or function that the binary does not tell.
pub const UNKNOWN: &str = "??";

/// A point that the handlers' code has: what a record in PC mode can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its PC.
    pub pc: u64,
    /// The function around it.
    pub function: String,
    /// The source file.
    pub file: String,
    /// From 1; 0 if the binary does not say.
    pub line: u32,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Those that were reached.
    pub covered: usize,
    /// All that there are.
    pub coverable: usize,
}

impl Tally {
    /// With one more.
    fn add(&mut self, covered: bool) {
        self.covered += usize::from(covered);
        self.coverable += 1;
    }

    /// Of these, each counted as one.
    fn of<'a>(parts: impl IntoIterator<Item = &'a Tally>) -> Self {
        let mut sum = Tally::default();
        parts.into_iter().for_each(|part| sum.add(part.is_reached()));
        sum
    }

    /// All of both.
    fn plus(self, other: Tally) -> Self {
        Tally { covered: self.covered + other.covered, coverable: self.coverable + other.coverable }
    }

    /// Whether any was reached.
    #[must_use]
    pub fn is_reached(self) -> bool {
        self.covered > 0
    }

    /// In hundred, rounded down: 100 is all of them. Of nothing, all is covered.
    #[must_use]
    pub fn percent(self) -> usize {
        (self.covered * 100).checked_div(self.coverable).unwrap_or(100)
    }
}

/// The three ways to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Points.
    pub points: Tally,
    /// Lines with points: covered, if one of them is.
    pub lines: Tally,
    /// Functions with points: covered, if one of them is.
    pub functions: Tally,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionCoverage {
    /// Its name.
    pub name: String,
    /// The first line with a point of it; 0 if none is known.
    pub line: u32,
    /// Its points.
    pub points: Tally,
}

/// A source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileCoverage {
    /// Its path.
    pub path: String,
    /// Counts.
    pub totals: Totals,
    /// In the order of their lines.
    pub functions: Vec<FunctionCoverage>,
    /// Points by line.
    pub lines: BTreeMap<u32, Tally>,
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Counts.
    pub totals: Totals,
    /// In the order of their paths.
    pub files: Vec<FileCoverage>,
}

impl Coverage {
    /// Of these points, those for which `is_covered` says so.
    pub fn new(points: impl IntoIterator<Item = Point>, is_covered: impl Fn(u64) -> bool) -> Self {
        let mut files: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        for point in points {
            files.entry(point.file.clone()).or_default().push(point);
        }
        let files: Vec<_> =
            files.into_iter().map(|(path, points)| FileCoverage::new(path, &points, &is_covered)).collect();
        let totals = files.iter().fold(Totals::default(), |sum, file| sum.plus(file.totals));
        Coverage { totals, files }
    }
}

impl Totals {
    fn plus(self, other: Totals) -> Self {
        Totals {
            points: self.points.plus(other.points),
            lines: self.lines.plus(other.lines),
            functions: self.functions.plus(other.functions),
        }
    }
}

impl FileCoverage {
    fn new(path: String, points: &[Point], is_covered: impl Fn(u64) -> bool) -> Self {
        let mut functions: BTreeMap<&str, FunctionCoverage> = BTreeMap::new();
        let mut lines: BTreeMap<u32, Tally> = BTreeMap::new();
        let mut all = Tally::default();
        for point in points {
            let covered = is_covered(point.pc);
            all.add(covered);
            if point.line > 0 {
                lines.entry(point.line).or_default().add(covered);
            }
            let function = functions.entry(&point.function).or_insert_with(|| FunctionCoverage {
                name: point.function.clone(),
                line: point.line,
                points: Tally::default(),
            });
            function.line = first(function.line, point.line);
            function.points.add(covered);
        }
        let mut functions: Vec<_> = functions.into_values().collect();
        functions.sort_by_key(|function| function.line);
        let totals = Totals {
            points: all,
            lines: Tally::of(lines.values()),
            functions: Tally::of(functions.iter().map(|function| &function.points)),
        };
        FileCoverage { path, totals, functions, lines }
    }
}

/// The first of two lines, one of which may not be known.
fn first(a: u32, b: u32) -> u32 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}
