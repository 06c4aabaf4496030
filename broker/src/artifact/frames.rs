//! From the return addresses of a dead worker to functions and lines.

use super::place;
use crate::symbolize::{SourceFrame, frames_at};
use addr2line::Loader;
use kcov_proto::message::LoadedModule;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;

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

/// The frames of a stack, the innermost first. A file that cannot be read leaves addresses.
pub(super) fn frames(stack: &[u64], modules: &[LoadedModule]) -> Vec<Frame> {
    let mut loaders = HashMap::new();
    let mut frames = Vec::new();
    for (depth, &address) in stack.iter().enumerate() {
        let Some((module, offset)) = place(address, modules) else {
            frames.push(Frame { address, ..Frame::default() });
            continue;
        };
        let loader = loaders.entry(module.path.as_str()).or_insert_with(|| Loader::new(&module.path).ok());
        // A return address is that of the next instruction, which may be of another line.
        let probe = if depth == 0 { offset } else { offset.saturating_sub(1) };
        let plain = Frame { address, module: Some(module.path.clone()), offset, ..Frame::default() };
        frames.extend(match loader {
            Some(loader) => resolved(loader, probe, &plain),
            None => vec![plain],
        });
    }
    frames
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
