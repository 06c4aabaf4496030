//! The result of a check.

use serde::Serialize;
use std::fmt;

/// The outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No problem.
    Ok,
    /// Commands can be run, with the limitation that the finding describes.
    Limited,
    /// Commands cannot be run.
    Missing,
}

/// The result of a check.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// The outcome of a check.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What it is needed for.
    pub why: &'static str,
    /// How to fix it, if there is a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
}

impl Finding {
    /// A check without a problem.
    pub fn ok(check: &'static str, why: &'static str, found: impl Into<String>) -> Self {
        Finding { check, level: Level::Ok, found: found.into(), why, way_out: None }
    }

    /// The same check with a problem.
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
            Some(way_out) => write!(f, ". Needed for: {why}. To fix it: {way_out}."),
            None => Ok(()),
        }
    }
}
