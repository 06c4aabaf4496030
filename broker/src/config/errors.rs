//! What is wrong with a configuration, and where.

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
    /// Line, from 1; 0 if it is about the file.
    pub line: usize,
    /// The key with its section, as `tenant.command`; empty if it is not about one.
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
        let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        // A line each, whatever is quoted.
        write!(f, "{}: {}", self.place, self.message.chars().map(shown).collect::<String>())
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
    text: &'a str,
    /// How many lines there are.
    text_lines: usize,
    /// Offset of each line's first byte.
    lines: Vec<usize>,
    /// Lines of which it is not known what they say.
    lost: RefCell<BTreeSet<usize>>,
    // A default that is wrong is seen with every tenant, and told once.
    errors: RefCell<BTreeSet<ConfigError>>,
}

impl<'a> Report<'a> {
    /// About `text`, in the file of that name.
    #[must_use]
    pub fn new(text: &'a str, file: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect();
        Report {
            file,
            text,
            text_lines: text.lines().count(),
            lines,
            lost: RefCell::default(),
            errors: RefCell::default(),
        }
    }

    /// Where `key` is, whose text is at `span`.
    #[must_use]
    pub fn place(&self, span: Range<usize>, key: &str) -> Place {
        let line = self.lines.partition_point(|start| *start <= span.start);
        // What is missed at the end is missed in the last line, not in the empty one after it.
        let line = line.min(self.text_lines).max(1);
        Place { file: self.file.to_owned(), line, key: key.to_owned() }
    }

    /// Adds an error.
    pub fn add(&self, span: Range<usize>, key: &str, message: &str) {
        self.add_at(self.place(span, key), message);
    }

    /// Adds an error at a place, unless that is in a line of which it is not known what it says.
    pub fn add_at(&self, place: Place, message: &str) {
        if !self.lost.borrow().contains(&place.line) {
            self.insert(place, message);
        }
    }

    /// Adds a line that is no TOML. What the parser made of it was not meant; nor, after the head of a section, was what
    /// it made of that section.
    pub fn add_fault(&self, span: Range<usize>, message: &str) {
        let of_key = self.text.get(span.clone()).filter(|_| message == "duplicate key");
        let place = self.place(span, "");
        let line = place.line;
        if self.lost.borrow().contains(&line) {
            return;
        }
        let is_head = |text: &&str| text.trim_start().starts_with('[');
        let mut from_here = self.text[self.lines[line - 1]..].lines();
        let rest = match from_here.next().filter(is_head) {
            Some(_) => from_here.take_while(|text| !is_head(text)).count(),
            None => 0,
        };
        self.lost.borrow_mut().extend(line..=line + rest);
        self.insert(place, &of_key.map_or_else(|| message.to_owned(), |key| format!("{message} `{key}`")));
    }

    /// Adds that something is not there. It may be in a line of which it is not known what it says.
    pub fn add_missing(&self, place: Place, message: &str) {
        if self.lost.borrow().is_empty() {
            self.add_at(place, message);
        }
    }

    fn insert(&self, place: Place, message: &str) {
        if !self.is_full() {
            self.errors.borrow_mut().insert(ConfigError { place, message: message.to_owned() });
        }
    }

    /// Whether there are as many errors as are told: it is of no use to look for more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.errors.borrow().len() >= MOST
    }

    /// All that was added, by line.
    #[must_use]
    pub fn into_errors(self) -> BTreeSet<ConfigError> {
        self.errors.into_inner()
    }
}
