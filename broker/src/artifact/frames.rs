//! From the addresses of a dead worker to functions and lines.

use super::build::regular;
use super::place_of;
use crate::symbolize::{SourceFrame, frames_at};
use addr2line::Loader;
use kcov_proto::message::LoadedModule;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::Path;

/// Names of the worker's own functions begin so.
const WORKER: &str = "kcov_worker::";
/// Names of the files of libraries that are nobody's own begin so: of C and C++, of compilers and their sanitizers.
const RUNTIMES: [&str; 9] = [
    "ld-linux",
    "libasan.",
    "libc.",
    "libclang_rt.",
    "libgcc_s.",
    "libm.",
    "libpthread.",
    "libstdc++.",
    "libubsan.",
];
/// Sources of Rust's standard library have paths that begin so.
const STANDARD_LIBRARY: &str = "/rustc/";

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

/// Which frames of a stack are the handler's: up to those of the worker that call it, and without those of what it
/// called last, be it the worker's recording, the C library or a sanitizer. `libraries` are the files of handlers that are
/// not part of the worker program; others that they bring are theirs too, if their sources are known. `None` if there
/// are no such frames, or no symbols to tell.
pub(super) fn of_the_handler(stack: &[Frame], libraries: &[&str]) -> Option<Range<usize>> {
    let is_named = |frame: &&Frame| {
        let function = frame.function.as_deref().unwrap_or_default();
        function.trim_start_matches('<').starts_with(WORKER)
    };
    // Closures may have no path in their name, but stand in the same files.
    let files: HashSet<&str> =
        stack.iter().filter(is_named).filter_map(|frame| frame.file.as_deref()).collect();
    let is_of_the_worker =
        |frame: &Frame| is_named(&frame) || frame.file.as_deref().is_some_and(|file| files.contains(file));
    let program = stack.iter().find(is_named).and_then(|frame| frame.module.as_deref());
    let is_of_the_program = |frame: &Frame| {
        let is_there = frame.module.is_some() && frame.module.as_deref() == program;
        is_there
            && !is_of_the_worker(frame)
            && frame.file.as_deref().is_some_and(|file| !file.starts_with(STANDARD_LIBRARY))
    };
    let is_brought = |frame: &Frame, module: &str| {
        let name = module.rsplit('/').next().unwrap_or_default();
        frame.file.is_some()
            && Some(module) != program
            && !RUNTIMES.iter().any(|runtime| name.starts_with(runtime))
    };
    let is_of_a_library = |frame: &Frame| {
        frame.module.as_deref().is_some_and(|file| libraries.contains(&file) || is_brought(frame, file))
    };
    let start =
        stack.iter().position(is_of_a_library).or_else(|| stack.iter().position(is_of_the_program))?;
    let length = stack[start..].iter().position(is_of_the_worker);
    Some(start..length.map_or(stack.len(), |length| start + length))
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

    /// What a sanitizer has printed, with function and line after each address of a stack, up to those of the worker
    /// that call the handler.
    pub(super) fn explain(&mut self, text: &str, libraries: &[&str]) -> String {
        let mut explained = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(address) = stack_line(line) else {
                explained += line;
                explained.push('\n');
                continue;
            };
            let mut stack = vec![(line, address)];
            while let Some(next) = lines.next_if(|line| stack_line(line).is_some()) {
                stack.extend(stack_line(next).map(|address| (next, address)));
            }
            explained += &self.explain_stack(&stack, libraries);
        }
        explained
    }

    fn explain_stack(&mut self, stack: &[(&str, u64)], libraries: &[&str]) -> String {
        // Sanitizers print the address of the call, not that to which it returns.
        let frames: Vec<_> = stack.iter().map(|(_, address)| self.at(*address, *address)).collect();
        let end = of_the_handler(&frames.concat(), libraries).map_or(usize::MAX, |frames| frames.end);
        let (mut explained, mut told) = (String::new(), 0);
        for (number, ((line, _), frames)) in stack.iter().zip(&frames).enumerate() {
            if told >= end {
                let _ = writeln!(explained, "    #{number} and those that follow are the worker's own");
                break;
            }
            told += frames.len();
            let known =
                frames.iter().filter(|frame| frame.function.is_some()).map(|frame| format!(" {frame}"));
            let _ = writeln!(explained, "{line}{}", known.collect::<Vec<_>>().join(","));
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

    fn frame(module: &str, function: &str, file: &str) -> Frame {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Frame { module: text(module), function: text(function), file: text(file), ..Frame::default() }
    }

    #[test]
    fn a_librarys_frames_are_between_the_c_library_and_the_worker() {
        let stack = [
            frame("/libc.so", "abort", ""),
            frame("/handler.so", "inner", "h.c"),
            frame("/handler.so", "outer", ""),
            frame(
                "/worker",
                "<kcov_worker::sys::library::File as kcov_worker::handler::OpenFile>::ioctl",
                "l.rs",
            ),
            frame("/worker", "main", ""),
        ];
        assert_eq!(of_the_handler(&stack, &["/handler.so"]), Some(1..3));
        assert_eq!(of_the_handler(&stack[..1], &["/handler.so"]), None);
    }

    #[test]
    fn the_frames_of_a_library_that_a_handler_brings_are_its_own() {
        let stack = [
            frame("/usr/lib/libasan.so.8", "__interceptor_memset", "asan.cpp"),
            frame("/usr/lib/libc.so.6", "qsort", "qsort.c"),
            frame("/own/libsort.so", "compare", "sort.c"),
            frame("/usr/lib/libc.so.6", "qsort", "qsort.c"),
            frame("/usr/lib/libother.so", "visit", ""),
            frame("/handler.so", "outer", "h.c"),
            frame("/worker", "kcov_worker::handlers::Handlers::ioctl", "handlers.rs"),
        ];
        assert_eq!(of_the_handler(&stack, &["/handler.so"]), Some(2..6));
        let without_sources = &stack[3..];
        assert_eq!(of_the_handler(without_sources, &["/handler.so"]), Some(2..3));
    }

    #[test]
    fn a_programs_own_frames_are_between_the_panic_and_the_worker() {
        let stack = [
            frame("/libc.so", "abort", ""),
            frame("/program", "kcov_worker::sys::crash::abort_on_panic::{{closure}}", "/worker/crash.rs"),
            frame("/program", "{closure#0}", "/worker/crash.rs"),
            frame("/program", "core::panicking::panic_fmt", "/rustc/0/core/panicking.rs"),
            frame("/program", "door::open", "src/main.rs"),
            frame("/program", "<door::File as kcov_worker::handler::OpenFile>::ioctl", "src/main.rs"),
            frame("/program", "kcov_worker::handlers::Handlers::ioctl", "/worker/handlers.rs"),
            frame("/program", "door::main", "src/main.rs"),
        ];
        assert_eq!(of_the_handler(&stack, &[]), Some(4..6));
    }

    #[test]
    fn what_is_no_stack_stays_as_it_is() {
        let text = "==1==ERROR\n    #0 0x1 (x+1)\nlast";
        assert_eq!(Symbols::of(&[]).explain(text, &[]), format!("{text}\n"));
    }
}
