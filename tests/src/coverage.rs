//! The output of `kcov-broker cover --json FILE`.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Coverage points of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Tally {
    /// Points that were reached.
    pub covered: usize,
    /// All points.
    pub coverable: usize,
}

/// A function.
#[derive(Clone, Debug, Deserialize)]
pub struct Function {
    /// Name of the function.
    pub name: String,
    /// Points of the function.
    pub points: Tally,
}

/// A source file.
#[derive(Clone, Debug, Deserialize)]
pub struct SourceFile {
    /// Path of the file.
    pub path: String,
    /// Functions in the file.
    pub functions: Vec<Function>,
    /// Points by line.
    pub lines: BTreeMap<u32, Tally>,
}

/// The whole report.
#[derive(Clone, Debug, Deserialize)]
pub struct Coverage {
    /// Source files.
    pub files: Vec<SourceFile>,
    /// Records that match no coverage point of the handlers.
    pub others: Others,
}

/// Records that match no coverage point of the handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Others {
    /// Explicit ids.
    pub ids: u64,
    /// All others.
    pub unknown: u64,
}

impl Coverage {
    /// Sorted names of the functions that were reached, without their module paths.
    #[must_use]
    pub fn reached(&self) -> Vec<&str> {
        let functions = self.files.iter().flat_map(|file| &file.functions);
        let reached = functions.filter(|function| function.points.covered > 0);
        let mut names: Vec<&str> = reached.map(|function| short(&function.name)).collect();
        names.sort_unstable();
        names
    }
}

fn short(name: &str) -> &str {
    name.rsplit_once("::").map_or(name, |(_, short)| short)
}
