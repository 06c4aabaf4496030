//! One table of the file: keys that are asked for, and those that nobody asks for.

use super::errors::{Place, Report};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A value as it stands in the file, and where.
pub type Found<'a> = (Range<usize>, &'a DeValue<'a>);

/// See the module.
#[derive(Debug)]
pub struct Section<'a> {
    name: &'a str,
    table: &'a DeTable<'a>,
    /// What holds where the table says nothing.
    defaults: Option<&'a DeTable<'a>>,
    report: &'a Report<'a>,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// The table `name`.
    #[must_use]
    pub fn new(
        name: &'a str,
        table: &'a DeTable<'a>,
        defaults: Option<&'a DeTable<'a>>,
        report: &'a Report<'a>,
    ) -> Self {
        Section { name, table, defaults, report, known: RefCell::default() }
    }

    /// What collects the errors.
    #[must_use]
    pub fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// The key with its section.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// The value of `key`.
    pub fn get(&self, key: &'static str) -> Option<Found<'a>> {
        self.known.borrow_mut().insert(key);
        let (_, value) = find(self.table, key).or_else(|| find(self.defaults?, key))?;
        Some((value.span(), value.get_ref()))
    }

    /// Where `key` is; where it is not, the section's own place at `otherwise`.
    #[must_use]
    pub fn place(&self, key: &'static str, otherwise: &Range<usize>) -> Place {
        let span = self.get(key).map_or_else(|| otherwise.clone(), |(span, _)| span);
        self.report.place(span, &self.path(key))
    }

    /// The value of `key` as `parse` reads it; what it says is wrong is an error of the key.
    pub fn read<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let (span, value) = self.get(key)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(message) => {
                self.report.add(span, &self.path(key), &message);
                None
            }
        }
    }

    /// As [`read`](Self::read), with a value for where there is none.
    pub fn read_or<T>(
        &self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> T {
        self.read(key, parse).unwrap_or(default)
    }

    /// The table that `key` is.
    pub fn table(&self, key: &'static str) -> Option<&'a DeTable<'a>> {
        match self.get(key)? {
            (_, DeValue::Table(table)) => Some(table),
            (span, other) => {
                let message = format!("expected a section `[{}]`, found {}", self.path(key), kind(other));
                self.report.add(span, &self.path(key), &message);
                None
            }
        }
    }

    /// The section that `key` is, with what the defaults say in theirs.
    pub fn section(&self, key: &'static str, name: &'a str) -> Option<Section<'a>> {
        let defaults = self.defaults.and_then(|defaults| match find(defaults, key)?.1.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => None,
        });
        let table = self.table(key)?;
        Some(Section::new(name, table, defaults, self.report))
    }

    /// Every key that was not asked for is an error.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table.iter().filter(|(key, _)| !known.contains(key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let near = known.iter().min_by_key(|known| strsim::damerau_levenshtein(name, known));
            let near = near.filter(|known| strsim::damerau_levenshtein(name, known) <= name.len() / 3 + 1);
            let names: Vec<_> = known.iter().copied().collect();
            let message = match near {
                Some(near) => format!("unknown key (did you mean `{near}`?)"),
                None => format!("unknown key; there are: {}", names.join(", ")),
            };
            self.report.add(key.span(), &self.path(name), &message);
        }
    }
}

fn find<'a>(table: &'a DeTable<'a>, name: &str) -> Option<(&'a str, &'a toml::Spanned<DeValue<'a>>)> {
    let found = table.iter().find(|(key, _)| key.get_ref() == name)?;
    Some((found.0.get_ref(), found.1))
}

/// What a value is, for messages.
#[must_use]
pub fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
