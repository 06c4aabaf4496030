//! Coverage by file, function and line: a pure function of the coverage points and the marks.

use crate::symbolize::SourceLine;
use serde::Serialize;
use std::collections::BTreeMap;

/// Stands for an unknown file or function.
pub const UNKNOWN: &str = "??";

/// A coverage point: a PC that can appear in a record in PC mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Its PC.
    pub pc: u64,
    /// The function that contains it.
    pub function: String,
    /// Source file.
    pub file: String,
    /// Line, counted from 1; 0 if unknown.
    pub line: u32,
    /// The lines of its basic block, which run whenever the point is reached; they need not include `line`. Empty if the
    /// block has no other instructions; `None` if the block is unknown.
    pub lines: Option<Vec<SourceLine>>,
}

impl Point {
    fn own_line(&self) -> Option<SourceLine> {
        (self.line > 0).then(|| SourceLine { file: self.file.clone(), line: self.line })
    }
}

/// Maps each line to the points whose blocks contain it, and how many of them are covered.
///
/// A block without instructions besides the point's call, like that of a `break`, counts for the point's own line, but
/// only if no other block contains that line: where several returns meet, compilers use the line of one of them.
fn lines_of(points: &[Point], is_covered: impl Fn(u64) -> bool) -> BTreeMap<SourceLine, Ratio> {
    let mut lines: BTreeMap<SourceLine, Ratio> = BTreeMap::new();
    let mut fallback: BTreeMap<SourceLine, Ratio> = BTreeMap::new();
    for point in points {
        let (target, of_point) = match &point.lines {
            Some(block) if block.is_empty() => (&mut fallback, point.own_line().into_iter().collect()),
            Some(block) => (&mut lines, block.clone()),
            None => (&mut lines, Vec::from_iter(point.own_line())),
        };
        for line in of_point {
            target.entry(line).or_default().add(is_covered(point.pc));
        }
    }
    for (line, ratio) in fallback {
        lines.entry(line).or_insert(ratio);
    }
    lines
}

/// A number of covered items out of all items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ratio {
    /// Items that were reached.
    pub covered: usize,
    /// All items.
    pub coverable: usize,
}

impl Ratio {
    /// Counts one more item.
    fn add(&mut self, covered: bool) {
        self.covered += usize::from(covered);
        self.coverable += 1;
    }

    /// Counts each part as one item, covered if any of it is.
    fn of<'a>(parts: impl IntoIterator<Item = &'a Ratio>) -> Self {
        let mut sum = Ratio::default();
        parts.into_iter().for_each(|part| sum.add(part.is_reached()));
        sum
    }

    /// Adds two ratios.
    fn plus(self, other: Ratio) -> Self {
        Ratio { covered: self.covered + other.covered, coverable: self.coverable + other.coverable }
    }

    /// Returns whether any item was reached.
    #[must_use]
    pub fn is_reached(self) -> bool {
        self.covered > 0
    }

    /// The percentage, rounded down, so that 100 means all items. 100 if there are no items.
    #[must_use]
    pub fn percent(self) -> usize {
        (self.covered * 100).checked_div(self.coverable).unwrap_or(100)
    }
}

/// Coverage counted in points, lines and functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Coverage points.
    pub points: Ratio,
    /// Lines of the points' blocks; a line is covered if any of its points is.
    pub lines: Ratio,
    /// Functions with points; a function is covered if any of its points is.
    pub functions: Ratio,
}

/// The coverage of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FunctionCoverage {
    /// Name of the function.
    pub name: String,
    /// The first line with a point; 0 if unknown.
    pub line: u32,
    /// Its coverage points.
    pub points: Ratio,
}

/// The coverage of a source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileCoverage {
    /// Path of the file.
    pub path: String,
    /// Counts.
    pub totals: Totals,
    /// Its functions, sorted by line.
    pub functions: Vec<FunctionCoverage>,
    /// For each line, the points whose blocks contain it.
    pub lines: BTreeMap<u32, Ratio>,
}

/// The coverage of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Counts.
    pub totals: Totals,
    /// The files, sorted by path.
    pub files: Vec<FileCoverage>,
}

impl Coverage {
    /// Counts `points`; `is_covered` decides by PC which ones were reached.
    pub fn new(points: impl IntoIterator<Item = Point>, is_covered: impl Fn(u64) -> bool) -> Self {
        let points: Vec<Point> = points.into_iter().collect();
        let mut lines: BTreeMap<String, BTreeMap<u32, Ratio>> = BTreeMap::new();
        for (SourceLine { file, line }, ratio) in lines_of(&points, &is_covered) {
            lines.entry(file).or_default().insert(line, ratio);
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
        lines: BTreeMap<u32, Ratio>,
        is_covered: impl Fn(u64) -> bool,
    ) -> Self {
        let mut functions: BTreeMap<&str, FunctionCoverage> = BTreeMap::new();
        let mut all = Ratio::default();
        for point in points {
            let covered = is_covered(point.pc);
            all.add(covered);
            let function = functions.entry(&point.function).or_insert_with(|| FunctionCoverage {
                name: point.function.clone(),
                line: point.line,
                points: Ratio::default(),
            });
            function.line = first(function.line, point.line);
            function.points.add(covered);
        }
        let mut functions: Vec<_> = functions.into_values().collect();
        functions.sort_by_key(|function| function.line);
        let totals = Totals {
            points: all,
            lines: Ratio::of(lines.values()),
            functions: Ratio::of(functions.iter().map(|function| &function.points)),
        };
        FileCoverage { path, totals, functions, lines }
    }
}

/// The smaller of two lines, where 0 is unknown.
fn first(a: u32, b: u32) -> u32 {
    if a == 0 || b == 0 { a.max(b) } else { a.min(b) }
}
