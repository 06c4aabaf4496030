//! The source location of a PC.

use super::debug_info::SourceFrame;
use kcov_proto::site::{ParsedSite, SiteKind};
use serde::{Serialize, Serializer};
use std::fmt;

/// The kind of coverage point that a PC belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A site of a recording macro.
    Site(SiteKind),
    /// A block of instrumented code with a guard.
    Guard,
    /// A callback from instrumented code: for a block without a guard, or for a comparison.
    Callback,
}

impl Kind {
    /// The spelling in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Site(kind) => kind.as_str(),
            Kind::Guard => "guard",
            Kind::Callback => "callback",
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The source location of a PC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The innermost function. For a site in a program without symbols: its module.
    pub function: String,
    /// Path of the source file; for sites, very long paths are cut to their tail. `None` if unknown.
    pub file: Option<String>,
    /// Line, counted from 1.
    pub line: Option<u32>,
    /// Column, counted from 1; 0 if the binary has lines without columns.
    pub column: Option<u32>,
    /// Name of the site, if it has one.
    pub name: Option<String>,
    /// Kind of point.
    pub kind: Kind,
    /// Hash of the site, stable across builds; `None` for other kinds.
    pub hash: Option<u64>,
    /// The functions that `function` is inlined into, innermost first.
    pub inlined_by: Vec<SourceFrame>,
}

impl Location {
    /// The location of a site; `function` comes from the symbol table.
    pub(super) fn of_site(site: ParsedSite, function: Option<String>) -> Self {
        let ParsedSite { kind, hash, line, column, file, module, name } = site;
        Location {
            function: function.unwrap_or(module),
            file: Some(file),
            line: Some(line),
            column: Some(column),
            name: (!name.is_empty()).then_some(name),
            kind: Kind::Site(kind),
            hash: Some(hash),
            inlined_by: Vec::new(),
        }
    }

    /// The location of an address with these frames; `None` without frames.
    pub(super) fn of_frames(kind: Kind, frames: Vec<SourceFrame>) -> Option<Self> {
        let mut frames = frames.into_iter();
        let SourceFrame { function, file, line, column } = frames.next()?;
        Some(Location {
            function: function.unwrap_or_else(|| "??".to_owned()),
            file,
            line,
            column,
            name: None,
            kind,
            hash: None,
            inlined_by: frames.collect(),
        })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { function, file, line, column, inlined_by, .. } = self;
        write!(f, "{function}")?;
        if let Some(file) = file {
            write!(f, " {file}:{}:{}", line.unwrap_or(0), column.unwrap_or(0))?;
        }
        inlined_by.iter().try_for_each(|frame| write!(f, " inlined by {frame}"))
    }
}
