//! One thing that was looked at, and how it is.

use serde::Serialize;
use std::fmt;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// A run works, with what the finding says.
    Limited,
    /// No run works.
    Missing,
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What it is needed for.
    pub why: &'static str,
    /// What to do about it, unless it is as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(check: &'static str, why: &'static str, found: impl Into<String>) -> Self {
        Finding { check, level: Level::Ok, found: found.into(), why, way_out: None }
    }

    /// The same thing, which is not: `found`, and what to do.
    #[must_use]
    pub fn but(mut self, level: Level, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        self.level = level;
        self.found = found.into();
        self.way_out = Some(way_out.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { check, level, found, why, way_out } = self;
        let level = match level {
            Level::Ok => "ok",
            Level::Limited => "limited",
            Level::Missing => "missing",
        };
        write!(f, "{level:<8} {check}: {found}")?;
        match way_out {
            Some(way_out) => write!(f, ". Matters for {why}. Way out: {way_out}."),
            None => Ok(()),
        }
    }
}
