//! Reading a configuration file, which may be of any size and contain any bytes.

use super::errors::{ConfigError, ConfigErrors, Place};
use crate::sys::plain_file;
use std::io::{self, Read};
use std::path::Path;

/// Maximum size of a configuration file, bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Reads a file, or standard input if `path` is `-`.
///
/// # Errors
/// If it cannot be read, is too long, or is not UTF-8.
pub fn read(path: &Path) -> Result<String, ConfigErrors> {
    let wrong = |line: usize, message: String| {
        let place = Place { line, ..Place::file(&path.display().to_string()) };
        ConfigErrors(vec![ConfigError { place, message }])
    };
    let bytes = match path.to_str() {
        Some("-") => bounded(io::stdin().lock()),
        _ => plain_file::open(path).and_then(bounded),
    };
    let bytes = bytes.map_err(|error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let way_out = if is_missing { "; see the example in man kcov-broker.toml" } else { "" };
        wrong(0, format!("cannot be read: {error}{way_out}"))
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong(0, format!("is longer than {MAX_FILE} bytes, the maximum")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        wrong(line, "is not UTF-8: save the file in that encoding".to_owned())
    })
}

fn bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
