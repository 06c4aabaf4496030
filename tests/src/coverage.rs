//! What `kcov-broker cover --json FILE` writes.

use serde::Deserialize;
use std::collections::BTreeMap;

/// So many of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Tally {
    /// Reached.
    pub covered: usize,
    /// All.
    pub coverable: usize,
}

/// A function.
#[derive(Clone, Debug, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its points.
    pub points: Tally,
}

/// A source file.
#[derive(Clone, Debug, Deserialize)]
pub struct SourceFile {
    /// Its path.
    pub path: String,
    /// Its functions.
    pub functions: Vec<Function>,
    /// Points by line.
    pub lines: BTreeMap<u32, Tally>,
}

/// The whole.
#[derive(Clone, Debug, Deserialize)]
pub struct Coverage {
    /// The files.
    pub files: Vec<SourceFile>,
    /// Marks that are no points of the handlers.
    pub others: Others,
}

/// See [`Coverage::others`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Others {
    /// Explicit ids.
    pub ids: u64,
    /// The rest.
    pub unknown: u64,
}

impl Coverage {
    /// The names of the functions that were reached, without the path to them, in order.
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
