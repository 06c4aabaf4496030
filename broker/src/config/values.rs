//! Converting values of the file to Rust types. Each function returns the value, or a message that says what
//! is wrong with it.

use super::section::kind;
use crate::launch::parse;
use kcov_proto::quota::Unit;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// Longest name of a tenant, bytes.
const MAX_NAME: usize = 64;

fn expected<T>(what: &str, found: &DeValue<'_>) -> Result<T, String> {
    Err(format!("expected {what}, found {}", kind(found)))
}

/// A string without a NUL byte.
pub fn string(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) if text.contains('\0') => Err("contains a NUL byte".into()),
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

/// The name of a tenant. It becomes part of the names of files and metrics.
pub fn name(value: &DeValue<'_>) -> Result<String, String> {
    let text = filled(value)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.len() > MAX_NAME || !text.chars().all(fits) || text.starts_with(['-', '.']) {
        return Err(format!(
            "{text:?} is not a valid name: use at most {MAX_NAME} letters, digits, `-`, `_` and `.`, and begin with a \
             letter or digit"
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
    Some(parsed.map_err(|_| format!("{} is not a number of at least 0", digits.as_str())))
}

/// An integer of at least 0.
pub fn count(value: &DeValue<'_>) -> Result<u64, String> {
    integer(value).unwrap_or_else(|| expected("an integer", value))
}

/// A time: a number of seconds, or a string with a unit.
pub fn time(value: &DeValue<'_>) -> Result<Duration, String> {
    match (integer(value), value) {
        (Some(number), _) => parse::time(&number?.to_string()),
        (None, DeValue::Float(text)) => parse::time(text.as_str()),
        (None, DeValue::String(text)) => parse::time(text),
        (None, other) => expected("a time such as \"500ms\", \"5s\" or \"2m\"", other),
    }
}

/// A size: a number of bytes, or a string with a suffix.
pub fn bytes(value: &DeValue<'_>) -> Result<u64, String> {
    match (integer(value), value) {
        (Some(number), _) => number,
        (None, DeValue::String(text)) => parse::bytes(text),
        (None, other) => expected("a size such as \"64K\", \"2M\" or \"1G\"", other),
    }
}

/// The value of a quota.
pub fn quota(unit: Unit) -> impl FnOnce(&DeValue<'_>) -> Result<u64, String> {
    move |value| match unit {
        Unit::Bytes => bytes(value),
        Unit::Count => count(value),
        Unit::Time => Ok(u64::try_from(time(value)?.as_nanos()).unwrap_or(u64::MAX)),
    }
}

/// An array of strings.
pub fn strings(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(values) => values.iter().map(|value| string(value.get_ref())).collect(),
        other => expected("an array of strings", other),
    }
}

/// A command: an array of strings that begins with the program.
pub fn command(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    if let DeValue::String(text) = value {
        let words: Vec<_> = text.split_whitespace().map(|word| format!("{word:?}")).collect();
        return Err(format!(
            "expected an array that begins with the program: command = [{}]",
            words.join(", ")
        ));
    }
    match strings(value)? {
        words if words.first().is_none_or(String::is_empty) => Err("names no program".into()),
        words => Ok(words),
    }
}

/// Variables of an environment: a table of strings.
pub fn variables(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, String> {
    let DeValue::Table(table) = value else {
        return expected("a table of strings such as { LANG = \"C\" }", value);
    };
    let variable = |(name, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let name = name.get_ref().clone().into_owned();
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(format!("{name:?} is not a valid name of a variable"));
        }
        let value = string(value.get_ref()).map_err(|message| format!("{name}: {message}"))?;
        Ok((name, value))
    };
    table.iter().map(variable).collect()
}

/// A path. Relative paths start in `directory`.
pub fn path(directory: &Path) -> impl Fn(&DeValue<'_>) -> Result<PathBuf, String> + '_ {
    move |value| Ok(full(directory, &filled(value)?))
}

/// The full path of `path`, which starts in `directory` if it is relative. Removes `.` and doubled slashes.
#[must_use]
pub fn full(directory: &Path, path: &str) -> PathBuf {
    directory.join(path).components().collect()
}

/// One of `names`, converted to the value next to it.
pub fn one_of<T: Copy, const N: usize>(
    names: [(&'static str, T); N],
) -> impl FnOnce(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let text = string(value)?;
        let found = names.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<_> = names.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            format!("\"{text}\" is not one of {}", names.join(", "))
        })
    }
}
