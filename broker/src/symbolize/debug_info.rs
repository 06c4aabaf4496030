//! Looks up the functions and lines of an address in a binary's DWARF.

use addr2line::Loader;
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// A function that contains an address. An inlined function has a frame of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceFrame {
    /// Demangled name.
    pub function: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// Line, counted from 1.
    pub line: Option<u32>,
    /// Column, counted from 1.
    pub column: Option<u32>,
}

impl fmt::Display for SourceFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SourceFrame { function, file, line, column } = self;
        write!(f, "{}", function.as_deref().unwrap_or("??"))?;
        match file {
            Some(file) => write!(f, " {file}:{}:{}", line.unwrap_or(0), column.unwrap_or(0)),
            None => Ok(()),
        }
    }
}

/// Returns the frames at an address, innermost first; each is inlined into the next. Without DWARF, the only frame is
/// the function's symbol. Returns no frames if there is no symbol either.
#[must_use]
pub fn frames_at(loader: &Loader, address: u64) -> Vec<SourceFrame> {
    let mut frames = Vec::new();
    if let Ok(mut found) = loader.find_frames(address) {
        while let Ok(Some(frame)) = found.next() {
            let location = frame.location.as_ref();
            frames.push(SourceFrame {
                function: frame.function.as_ref().and_then(|name| Some(demangled(&name.raw_name().ok()?))),
                file: location.and_then(|location| location.file.map(ToOwned::to_owned)),
                line: location.and_then(|location| location.line),
                column: location.and_then(|location| location.column),
            });
        }
    }
    let symbol = loader.find_symbol(address).map(demangled);
    match frames.last_mut() {
        Some(outermost) => outermost.function = fuller(outermost.function.take(), symbol),
        None => {
            frames.extend(symbol.map(|name| SourceFrame { function: Some(name), ..SourceFrame::default() }))
        }
    }
    frames
}

/// A line of a source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLine {
    /// Path of the file.
    pub file: String,
    /// Line, counted from 1.
    pub line: u32,
}

/// Returns the source lines of the instructions in a range of addresses.
#[must_use]
pub fn lines_of(loader: &Loader, code: Range<u64>) -> Vec<SourceLine> {
    // For an empty range, addr2line returns the line that contains its start.
    if code.is_empty() {
        return Vec::new();
    }
    let Ok(found) = loader.find_location_range(code.start, code.end) else { return Vec::new() };
    let line = |location: addr2line::Location<'_>| {
        let line = location.line.filter(|line| *line > 0)?;
        Some(SourceLine { file: location.file?.to_owned(), line })
    };
    found.filter_map(|(_, _, location)| line(location)).collect()
}

/// Prefers the symbol where it only adds a path to the name: DWARF may have the bare name.
fn fuller(name: Option<String>, symbol: Option<String>) -> Option<String> {
    match (name, symbol) {
        (Some(name), Some(symbol)) => Some(if symbol.ends_with(&name) { symbol } else { name }),
        (name, symbol) => name.or(symbol),
    }
}

/// Demangles names of Rust and C++; returns other names unchanged.
fn demangled(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return format!("{rust:#}");
    }
    let cpp = name.starts_with("_Z").then(|| cpp_demangle::Symbol::new(name).ok()?.demangle().ok());
    cpp.flatten().unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::demangled;

    #[test]
    fn rust_and_cpp_names_are_demangled() {
        for (name, expected) in [
            ("_ZN4door4open17h0123456789abcdefE", "door::open"),
            ("_RNvCs1234_4door4open", "door::open"),
            ("_ZN4door4openILi5EEEim", "int door::open<5>(unsigned long)"),
            ("door_open", "door_open"),
            ("_Zdoor", "_Zdoor"),
        ] {
            assert_eq!(demangled(name), expected);
        }
    }
}
