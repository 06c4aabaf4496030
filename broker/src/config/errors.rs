//! Errors of a configuration, with their places.

use crate::printable;
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

/// Maximum number of errors that are reported for one file.
const MOST: usize = 1000;

/// A place in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The key with its section, such as `tenant.command`; empty if the error is not about a key.
    pub key: String,
}

impl Place {
    /// A file as a whole.
    #[must_use]
    pub fn file(name: &str) -> Self {
        Place { file: name.to_owned(), line: 0, key: String::new() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, key } = self;
        match line {
            0 => write!(f, "{file}")?,
            _ => write!(f, "{file}:{line}")?,
        }
        if key.is_empty() { Ok(()) } else { write!(f, ": {key}") }
    }
}

/// An error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ConfigError {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and quoted text may contain line breaks, and each error is one line.
        write!(f, "{}", printable::line(&format!("{}: {}", self.place, self.message)))
    }
}

/// All errors of a configuration, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", listed(.0))]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// The errors, one on each line.
#[must_use]
pub fn listed(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Collects the errors of a text.
#[derive(Debug)]
pub struct Diagnostics<'a> {
    file: &'a str,
    text: &'a str,
    /// Number of lines.
    text_lines: usize,
    /// Offset of each line's first byte.
    lines: Vec<usize>,
    /// Lines that could not be parsed.
    unparsed: RefCell<BTreeSet<usize>>,
    // A set, because an error in `[defaults]` is found again with every tenant.
    errors: RefCell<BTreeSet<ConfigError>>,
}

impl<'a> Diagnostics<'a> {
    /// The diagnostics of `text`, which comes from `file`.
    #[must_use]
    pub fn new(text: &'a str, file: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Diagnostics {
            file,
            text,
            text_lines: text.lines().count(),
            lines,
            unparsed: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    /// The place of `key`, whose text is at `span`.
    #[must_use]
    pub fn place(&self, span: Range<usize>, key: &str) -> Place {
        let line = self.lines.partition_point(|start| *start <= span.start);
        // An error at the end of the text belongs to the last line, not to the empty one after it.
        let line = line.min(self.text_lines).max(1);
        Place { file: self.file.to_owned(), line, key: key.to_owned() }
    }

    /// Adds an error.
    pub fn add(&self, span: Range<usize>, key: &str, message: &str) {
        self.add_at(self.place(span, key), message);
    }

    /// Adds an error at a place, unless its line could not be parsed.
    pub fn add_at(&self, place: Place, message: &str) {
        if !self.unparsed.borrow().contains(&place.line) {
            self.insert(place, message);
        }
    }

    /// Adds a syntax error. Other errors of the same line are dropped, as the parser guessed its meaning. If
    /// the line is the header of a section, so are the errors of that section.
    pub fn add_fault(&self, span: Range<usize>, message: &str) {
        let of_key = self.text.get(span.clone()).filter(|_| message == "duplicate key");
        let place = self.place(span, "");
        let line = place.line;
        if self.unparsed.borrow().contains(&line) {
            return;
        }
        let is_head = |text: &&str| text.trim_start().starts_with('[');
        let mut from_here = self.text[self.lines[line - 1]..].lines();
        let rest = match from_here.next().filter(is_head) {
            Some(_) => from_here.take_while(|text| !is_head(text)).count(),
            None => 0,
        };
        self.unparsed.borrow_mut().extend(line..=line + rest);
        self.insert(place, &of_key.map_or_else(|| message.to_owned(), |key| format!("{message} `{key}`")));
    }

    /// Adds an error about a missing key, unless some line could not be parsed: the key may be in that line.
    pub fn add_missing(&self, place: Place, message: &str) {
        if self.unparsed.borrow().is_empty() {
            self.add_at(place, message);
        }
    }

    fn insert(&self, place: Place, message: &str) {
        if !self.is_full() {
            self.errors.borrow_mut().insert(ConfigError { place, message: message.to_owned() });
        }
    }

    /// Whether the maximum number of errors was reached.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.errors.borrow().len() >= MOST
    }

    /// All errors, sorted by line.
    #[must_use]
    pub fn into_errors(self) -> BTreeSet<ConfigError> {
        self.errors.into_inner()
    }
}
