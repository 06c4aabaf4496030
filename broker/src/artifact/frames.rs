//! From the addresses of a dead worker to functions and lines.

use super::build::regular;
use super::place_of;
use crate::symbolize::{SourceFrame, frames_at};
use addr2line::Loader;
use kcov_proto::message::LoadedModule;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;

/// One frame of a stack. Of several functions that were compiled into one, each has its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// As the worker had it.
    pub address: u64,
    /// File of the program or library.
    pub module: Option<String>,
    /// Address in that file.
    pub offset: u64,
    /// The function.
    pub function: Option<String>,
    /// Its source file.
    pub file: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// From 1.
    pub column: Option<u32>,
    /// Compiled into the frame that follows.
    pub inlined: bool,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => write!(f, "{function}")?,
            None => write!(f, "{:#x}", self.address)?,
        }
        if let Some(file) = &self.file {
            write!(f, " at {file}:{}:{}", self.line.unwrap_or(0), self.column.unwrap_or(0))?;
        } else if let Some(module) = &self.module {
            write!(f, " in {module}+{:#x}", self.offset)?;
        }
        if self.inlined { write!(f, " (inlined)") } else { Ok(()) }
    }
}

/// The symbols of what was loaded, read when they are asked for.
pub(super) struct Symbols<'a> {
    modules: &'a [LoadedModule],
    loaders: HashMap<&'a str, Option<Loader>>,
}

impl<'a> Symbols<'a> {
    pub(super) fn of(modules: &'a [LoadedModule]) -> Self {
        Symbols { modules, loaders: HashMap::new() }
    }

    /// The frames of a stack, the innermost first. A file that cannot be read leaves addresses.
    pub(super) fn frames(&mut self, stack: &[u64]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (depth, &address) in stack.iter().enumerate() {
            // A return address is that of the next instruction, which may be of another line.
            frames.extend(self.at(address, if depth == 0 { address } else { address.saturating_sub(1) }));
        }
        frames
    }

    /// What a sanitizer has printed, with function and line after each address of a stack.
    pub(super) fn explain(&mut self, text: &str) -> String {
        let mut explained = String::new();
        for line in text.split_inclusive('\n') {
            explained += line.trim_end_matches('\n');
            // Sanitizers print the address of the call, not that to which it returns.
            if let Some(address) = stack_line(line) {
                let frames = self.at(address, address);
                let known: Vec<_> = frames.iter().filter(|frame| frame.function.is_some()).collect();
                for (at, frame) in known.iter().enumerate() {
                    explained += &format!("{} {frame}", if at == 0 { "" } else { "," });
                }
            }
            explained.push('\n');
        }
        explained
    }

    fn at(&mut self, address: u64, probe: u64) -> Vec<Frame> {
        let Some((module, offset)) = place_of(address, self.modules) else {
            return vec![Frame { address, ..Frame::default() }];
        };
        let loader = self.loaders.entry(module.path.as_str()).or_insert_with(|| {
            // The list of modules is an allegation of the zygote.
            regular(Path::new(&module.path)).and_then(|_| Loader::new(&module.path).ok())
        });
        let plain = Frame { address, module: Some(module.path.clone()), offset, ..Frame::default() };
        match loader {
            Some(loader) => resolved(loader, probe.wrapping_sub(module.bias), &plain),
            None => vec![plain],
        }
    }
}

/// The address of a line of a sanitizer's stack: `#N 0xADDRESS`.
fn stack_line(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let number = words.next()?.strip_prefix('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let address = words.next()?.strip_prefix("0x").filter(|_| is_number)?;
    u64::from_str_radix(address, 16).ok()
}

fn resolved(loader: &Loader, probe: u64, plain: &Frame) -> Vec<Frame> {
    let found = frames_at(loader, probe).into_iter().map(|frame| {
        let SourceFrame { function, file, line, column } = frame;
        Frame { function, file, line, column, inlined: true, ..plain.clone() }
    });
    let mut frames: Vec<Frame> = found.collect();
    match frames.last_mut() {
        Some(outermost) => outermost.inlined = false,
        None => frames.push(plain.clone()),
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_stack_are_told_from_others() {
        assert_eq!(stack_line("    #0 0x7f10 (/lib.so+0x10)\n"), Some(0x7f10));
        assert_eq!(stack_line("#12 0xffffffffffffffff"), Some(u64::MAX));
        for line in ["", "#0", "#x 0x10", "# 0x10", "#0 10", "#0 0x10g", "0x10 #0", "#0 0x10000000000000000"]
        {
            assert_eq!(stack_line(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_no_stack_stays_as_it_is() {
        let text = "==1==ERROR\n    #0 0x1 (x+1)\nlast";
        assert_eq!(Symbols::of(&[]).explain(text), format!("{text}\n"));
    }
}
