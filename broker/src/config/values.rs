//! Values: from what stands in the file to a type, or to what is wrong with it.

use super::section::kind;
use crate::commands::run::{parse_bytes, parse_time};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// Most bytes of a tenant's name.
const MAX_NAME: usize = 64;

fn expected<T>(what: &str, found: &DeValue<'_>) -> Result<T, String> {
    Err(format!("expected {what}, found {}", kind(found)))
}

/// A string without a NUL byte.
pub fn string(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) if text.contains('\0') => Err("contains a NUL byte, which nothing may".into()),
        DeValue::String(text) => Ok(text.clone().into_owned()),
        other => expected("a string", other),
    }
}

/// A string that is not empty.
pub fn filled(value: &DeValue<'_>) -> Result<String, String> {
    match string(value)? {
        text if text.is_empty() => Err("is empty".into()),
        text => Ok(text),
    }
}

/// A name of a tenant: letters, digits, `-`, `_`, `.`; it becomes part of names of files and metrics.
pub fn name(value: &DeValue<'_>) -> Result<String, String> {
    let text = filled(value)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.len() > MAX_NAME || !text.chars().all(fits) || text.starts_with(['-', '.']) {
        return Err(format!(
            "{text:?} is no name: at most {MAX_NAME} letters, digits, `-`, `_` and `.`, a letter or digit first"
        ));
    }
    Ok(text)
}

/// A boolean.
pub fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        other => expected("true or false", other),
    }
}

fn integer(value: &DeValue<'_>) -> Option<Result<u64, String>> {
    let DeValue::Integer(digits) = value else { return None };
    let parsed = u64::from_str_radix(&digits.as_str().replace('_', ""), digits.radix());
    Some(parsed.map_err(|_| format!("{} is no number of at least 0", digits.as_str())))
}

/// An integer of at least `least`.
pub fn count(least: u64) -> impl FnOnce(&DeValue<'_>) -> Result<u64, String> {
    move |value| match integer(value) {
        Some(Ok(number)) if number < least => Err(format!("must be at least {least}")),
        Some(number) => number,
        None => expected("an integer", value),
    }
}

/// A time: seconds, or a string with a unit.
pub fn time(value: &DeValue<'_>) -> Result<Duration, String> {
    match (integer(value), value) {
        (Some(number), _) => parse_time(&number?.to_string()),
        (None, DeValue::Float(text)) => parse_time(text.as_str()),
        (None, DeValue::String(text)) => parse_time(text),
        (None, other) => expected("a time as \"500ms\", \"5s\" or \"2m\"", other),
    }
}

/// A size: bytes, or a string with a suffix.
pub fn bytes(value: &DeValue<'_>) -> Result<u64, String> {
    match (integer(value), value) {
        (Some(number), _) => number,
        (None, DeValue::String(text)) => parse_bytes(text),
        (None, other) => expected("a size as \"64K\", \"2M\" or \"1G\"", other),
    }
}

/// An array of strings.
pub fn strings(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(values) => values.iter().map(|value| string(value.get_ref())).collect(),
        other => expected("an array of strings", other),
    }
}

/// A command: an array of strings, the program first.
pub fn command(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    if let DeValue::String(text) = value {
        let words: Vec<_> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
        return Err(format!("expected an array, the program first: command = [{}]", words.join(", ")));
    }
    match strings(value)? {
        words if words.first().is_none_or(String::is_empty) => Err("names no program".into()),
        words => Ok(words),
    }
}

/// A table of strings: variables of an environment.
pub fn variables(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, String> {
    let DeValue::Table(table) = value else {
        return expected("a table of strings, as { LANG = \"C\" }", value);
    };
    let variable =
        |(name, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
            let name = name.get_ref().clone().into_owned();
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(format!("{name:?} is no name of a variable"));
            }
            let value = string(value.get_ref()).map_err(|message| format!("{name}: {message}"))?;
            Ok((name, value))
        };
    table.iter().map(variable).collect()
}

/// A path; relative ones start in `directory`.
pub fn path(directory: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, String> + '_ {
    move |value| Ok(full(directory, &filled(value)?))
}

/// A path from `directory` on, without steps that lead nowhere.
#[must_use]
pub fn full(directory: &Path, path: &str) -> PathBuf {
    directory.join(path).components().collect()
}

/// One of `names`, as what stands beside it.
pub fn one_of<T: Copy, const N: usize>(
    names: [(&'static str, T); N],
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let text = string(value)?;
        let found = names.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<_> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            format!("\"{text}\" is none of {}", names.join(", "))
        })
    }
}
