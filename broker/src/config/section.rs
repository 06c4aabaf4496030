//! A table of the file. It records which keys were read, and reports all others as unknown.

use super::errors::{Diagnostics, Place};
use crate::launch::parse;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// A value in the file.
#[derive(Debug)]
pub struct Found<'a> {
    /// The key with its section: that of the tenant or that of the defaults.
    pub path: String,
    /// Its place in the text.
    pub span: Range<usize>,
    /// The value.
    pub value: &'a DeValue<'a>,
}

/// A table of the file.
#[derive(Debug)]
pub struct Section<'a> {
    name: String,
    table: &'a DeTable<'a>,
    /// Its place in the text.
    span: Range<usize>,
    /// Name and table of the section with the defaults.
    defaults: Option<(String, &'a DeTable<'a>)>,
    diagnostics: &'a Diagnostics<'a>,
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// The table `name`.
    #[must_use]
    pub fn new(name: &str, table: &'a DeTable<'a>, diagnostics: &'a Diagnostics<'a>) -> Self {
        Section {
            name: name.to_owned(),
            table,
            span: 0..0,
            defaults: None,
            diagnostics,
            known: RefCell::default(),
        }
    }

    /// Adds a table with defaults for keys that this one does not have.
    #[must_use]
    pub fn with_defaults(self, defaults: Option<(String, &'a DeTable<'a>)>) -> Self {
        Section { defaults, ..self }
    }

    /// Its place in the text.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The collected errors.
    #[must_use]
    pub fn diagnostics(&self) -> &'a Diagnostics<'a> {
        self.diagnostics
    }

    /// `key` with the name of this section.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        joined(&self.name, key)
    }

    /// The value of `key`.
    pub fn get(&self, key: &'static str) -> Option<Found<'a>> {
        self.known.borrow_mut().insert(key);
        find(&self.name, self.table, key).or_else(|| {
            let (name, table) = self.defaults.as_ref()?;
            find(name, table, key)
        })
    }

    /// Whether the table or the defaults have the key.
    #[must_use]
    pub fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// The place of `key`; if the section does not have it, `otherwise`.
    #[must_use]
    pub fn place(&self, key: &'static str, otherwise: &Range<usize>) -> Place {
        match self.get(key) {
            Some(Found { path, span, .. }) => self.diagnostics.place(span, &path),
            None => self.diagnostics.place(otherwise.clone(), &self.path(key)),
        }
    }

    /// The value of `key`, converted by `parse`. Reports the error of `parse`.
    pub fn read<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> Option<T> {
        let Found { path, span, value } = self.get(key)?;
        parse(value).map_err(|message| self.diagnostics.add(span, &path, &message)).ok()
    }

    /// Like [`read`](Self::read), with a default.
    pub fn read_or<T>(
        &self,
        key: &'static str,
        default: T,
        parse: impl FnOnce(&DeValue<'a>) -> Result<T, String>,
    ) -> T {
        self.read(key, parse).unwrap_or(default)
    }

    /// The table of `key`.
    pub fn table(&self, key: &'static str) -> Option<&'a DeTable<'a>> {
        self.section(key).map(|section| section.table)
    }

    /// The section of `key`, with the section of the same key in the defaults.
    pub fn section(&self, key: &'static str) -> Option<Section<'a>> {
        let Found { path, span, value } = self.get(key)?;
        let DeValue::Table(table) = value else {
            let message = format!("expected a section `[{path}]`, found {}", kind(value));
            self.diagnostics.add(span, &path, &message);
            return None;
        };
        let defaults = self.defaults.as_ref().and_then(|(name, defaults)| {
            let found = find(name, defaults, key)?;
            let DeValue::Table(table) = found.value else { return None };
            Some((found.path, table))
        });
        let section = Section::new(&path, table, self.diagnostics).with_defaults(defaults);
        Some(Section { span, ..section })
    }

    /// Reports every key that was not read.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table.iter().filter(|(key, _)| !known.contains(key.get_ref().as_ref())) {
            if self.diagnostics.is_full() {
                return;
            }
            let name = key.get_ref().as_ref();
            let near = parse::nearest(name, known.iter().copied());
            let names: Vec<_> = known.iter().copied().collect();
            let message = match near.first() {
                Some(near) => format!("unknown key (did you mean `{near}`?)"),
                None => format!("unknown key; known keys are: {}", names.join(", ")),
            };
            self.diagnostics.add(key.span(), &self.path(name), &message);
        }
    }
}

fn find<'a>(section: &str, table: &'a DeTable<'a>, key: &str) -> Option<Found<'a>> {
    let (_, value) = table.iter().find(|(name, _)| name.get_ref() == key)?;
    Some(Found { path: joined(section, key), span: value.span(), value: value.get_ref() })
}

fn joined(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// The type of a value, for messages.
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
