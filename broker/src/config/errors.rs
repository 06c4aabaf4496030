//! What is wrong with a configuration, and where.

use super::ConfigErrors;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// Most errors of one file: enough to mend it, whatever it is.
const MOST: usize = 1000;

/// Where a key stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// The key with its section, as `tenant.command`; empty if it is not about one.
    pub key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, key } = self;
        write!(f, "{file}:{line}")?;
        if key.is_empty() { Ok(()) } else { write!(f, ": {key}") }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConfigError {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What, and the way out.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// One error a line.
#[must_use]
pub fn listed(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Collects what is wrong with one text.
#[derive(Debug)]
pub struct Report<'a> {
    file: &'a str,
    /// Offset of each line's first byte.
    lines: Vec<usize>,
    // A default that is wrong is seen with every tenant, and told once.
    errors: RefCell<BTreeSet<ConfigError>>,
}

impl<'a> Report<'a> {
    /// About `text`, in the file of that name.
    #[must_use]
    pub fn new(text: &str, file: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Report { file, lines, errors: RefCell::default() }
    }

    /// Where `key` is, whose text is at `span`.
    #[must_use]
    pub fn place(&self, span: Range<usize>, key: &str) -> Place {
        let line = self.lines.partition_point(|start| *start <= span.start);
        Place { file: self.file.to_owned(), line, key: key.to_owned() }
    }

    /// Adds an error.
    pub fn add(&self, span: Range<usize>, key: &str, message: &str) {
        self.add_at(self.place(span, key), message);
    }

    /// Adds an error at a place.
    pub fn add_at(&self, place: Place, message: &str) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < MOST {
            errors.insert(ConfigError { place, message: message.to_owned() });
        }
    }

    /// `value` if nothing is wrong.
    ///
    /// # Errors
    /// All that was added so far.
    pub fn result<T>(&self, value: T) -> Result<T, ConfigErrors> {
        let errors = self.errors.borrow();
        if errors.is_empty() { Ok(value) } else { Err(ConfigErrors(errors.iter().cloned().collect())) }
    }
}
