//! What was covered, by file, function and line: a pure function of the points of the handlers and of the marks.

use crate::symbolize::SourceLine;
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
    /// The lines that run whenever it is reached, if they are known; its own need not be among them. None at all if it
    /// is alone in its block.
    pub lines: Option<Vec<SourceLine>>,
}

impl Point {
    /// Its own line.
    fn own(&self) -> Option<SourceLine> {
        (self.line > 0).then(|| SourceLine { file: self.file.clone(), line: self.line })
    }
}

/// The lines that points speak for, with how many of those that do are covered. Of a block in which nothing is but the
/// point, as that of a `break`, that is the point's line, unless others run with that one: where several returns meet,
/// a compiler has given it the line of one of them.
fn lines_of(points: &[Point], is_covered: impl Fn(u64) -> bool) -> BTreeMap<SourceLine, Tally> {
    let mut lines: BTreeMap<SourceLine, Tally> = BTreeMap::new();
    let mut alone: BTreeMap<SourceLine, Tally> = BTreeMap::new();
    for point in points {
        let (place, of_it) = match &point.lines {
            Some(block) if block.is_empty() => (&mut alone, point.own().into_iter().collect()),
            Some(block) => (&mut lines, block.clone()),
            None => (&mut lines, Vec::from_iter(point.own())),
        };
        for line in of_it {
            place.entry(line).or_default().add(is_covered(point.pc));
        }
    }
    for (line, tally) in alone {
        lines.entry(line).or_insert(tally);
    }
    lines
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
    /// Lines that run with a point: covered, if one of those is.
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
    /// Points by the lines that run with them.
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
        let points: Vec<Point> = points.into_iter().collect();
        let mut lines: BTreeMap<String, BTreeMap<u32, Tally>> = BTreeMap::new();
        for (SourceLine { file, line }, tally) in lines_of(&points, &is_covered) {
            lines.entry(file).or_default().insert(line, tally);
        }
        let mut files: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        for point in points {
            files.entry(point.file.clone()).or_default().push(point);
        }
        let file = |(path, points): (String, Vec<Point>)| {
            let lines = lines.remove(&path).unwrap_or_default();
            FileCoverage::new(path, &points, lines, &is_covered)
        };
        let files: Vec<_> = files.into_iter().map(file).collect();
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
    fn new(
        path: String,
        points: &[Point],
        lines: BTreeMap<u32, Tally>,
        is_covered: impl Fn(u64) -> bool,
    ) -> Self {
        let mut functions: BTreeMap<&str, FunctionCoverage> = BTreeMap::new();
        let mut all = Tally::default();
        for point in points {
            let covered = is_covered(point.pc);
            all.add(covered);
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
