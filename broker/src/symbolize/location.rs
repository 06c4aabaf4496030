//! Where a PC is.

use super::debug_info::SourceFrame;
use kcov_proto::site::{ParsedSite, SiteKind};
use serde::{Serialize, Serializer};
use std::fmt;

/// What a PC stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A recording macro.
    Site(SiteKind),
    /// A block of instrumented code that has a guard.
    Guard,
    /// A call of instrumented code: of a block without a guard, or of a comparison.
    Callback,
}

impl Kind {
    /// As reports spell it.
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

/// Where a PC is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The function around it, of inlined ones the innermost; of a site in a program without symbols, its module.
    pub function: String,
    /// Path of the source file; of a site its tail if that is very long. `None` if the binary does not say.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// From 1; 0 if the binary has lines without columns.
    pub column: Option<u32>,
    /// Name of the site, if it was given one.
    pub name: Option<String>,
    /// What it stands for.
    pub kind: Kind,
    /// Of a site, what is stable from build to build.
    pub hash: Option<u64>,
    /// The functions that the function was compiled into, each into the one that follows.
    pub inlined_by: Vec<SourceFrame>,
}

impl Location {
    /// Of a site, with the function that symbols give.
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

    /// Of an address, by its frames; `None` if there are none.
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
