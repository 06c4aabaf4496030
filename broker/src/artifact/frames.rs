//! Symbolizes the addresses of a dead worker.

use super::place_of;
use crate::printable;
use crate::symbolize::{SourceFrame, frames_at};
use crate::sys::plain_file;
use addr2line::Loader;
use kcov_proto::message::LoadedModule;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::Path;

/// Prefixes of the names of functions of kcov's own crates.
const CRATES: [&str; 3] = ["kcov_worker::", "kcov_proto::", "kcov_sys::"];
/// Source files of the recording, which compilers inline into handlers.
const RECORDING: [&str; 6] = [
    "/worker/src/record.rs",
    "/worker/src/record/ids.rs",
    "/worker/src/sys/recording.rs",
    "/proto/src/area.rs",
    "/proto/src/cover_map.rs",
    "/proto/src/site.rs",
];
/// Prefixes of the file names of runtime libraries: those of C, C++, compilers and sanitizers.
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
/// Prefix of the source paths of Rust's standard library.
const STANDARD_LIBRARY: &str = "/rustc/";

/// One frame of a stack. An inlined function has a frame of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Address in the worker's memory.
    pub address: u64,
    /// Path of the program or library.
    pub module: Option<String>,
    /// Address in that file.
    pub offset: u64,
    /// Name of the function.
    pub function: Option<String>,
    /// Source file.
    pub file: Option<String>,
    /// Line, counted from 1.
    pub line: Option<u32>,
    /// Column, counted from 1.
    pub column: Option<u32>,
    /// Whether it is inlined into the next frame.
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

/// Finds the handler's frames in a stack: those between the functions that the handler called last (kcov's recording,
/// the C library, Rust's standard library, a sanitizer) and the worker's frames that called the handler. `libraries`
/// are the paths of handler libraries. A library that they load counts as part of the handler if it has line numbers.
/// Returns `None` if there are no such frames, or no symbols to find them by.
pub(super) fn of_the_handler(stack: &[Frame], libraries: &[&str]) -> Option<Range<usize>> {
    let own = OwnCode::of(stack);
    let is_dependency = |frame: &Frame, module: &str| {
        let name = module.rsplit('/').next().unwrap_or_default();
        frame.file.is_some()
            && Some(module) != own.program
            && !RUNTIMES.iter().any(|runtime| name.starts_with(runtime))
    };
    let is_of_a_library = |frame: &Frame| {
        frame.module.as_deref().is_some_and(|file| libraries.contains(&file) || is_dependency(frame, file))
    };
    let is_of_the_program = |frame: &Frame| {
        frame.file.is_some() && frame.module.is_some() && frame.module.as_deref() == own.program
    };
    let find = |is_part: &dyn Fn(&Frame) -> bool| {
        stack.iter().position(|frame| is_part(frame) && !own.has(frame) && !is_of_the_standard_library(frame))
    };
    let start = find(&is_of_a_library).or_else(|| find(&is_of_the_program))?;
    let length = stack[start..].iter().position(|frame| own.has(frame));
    Some(start..length.map_or(stack.len(), |length| start + length))
}

fn is_of_the_standard_library(frame: &Frame) -> bool {
    frame.file.as_deref().is_some_and(|file| file.starts_with(STANDARD_LIBRARY))
}

/// How to recognize the frames of kcov's own crates. Their names start with a crate's name, but debugging information
/// has the bare names of inlined functions and closures: those are recognized by their source files.
struct OwnCode<'a> {
    /// The worker program.
    program: Option<&'a str>,
    /// Source folders of the crates on this stack.
    folders: HashSet<String>,
}

impl<'a> OwnCode<'a> {
    fn of(stack: &'a [Frame]) -> Self {
        let named = || stack.iter().filter(|frame| is_named(frame));
        let folders = named().filter(|frame| !is_of_the_standard_library(frame)).filter_map(|frame| {
            let file = frame.file.as_deref()?;
            Some(file[..file.rfind("src/")? + "src/".len()].to_owned())
        });
        // The outermost one: a library in Rust contains a copy of the worker's crate.
        let program = named().next_back().and_then(|frame| frame.module.as_deref());
        OwnCode { program, folders: folders.collect() }
    }

    fn has(&self, frame: &Frame) -> bool {
        let is_own = |file: &str| {
            self.folders.iter().any(|folder| file.starts_with(folder.as_str()))
                || RECORDING.iter().any(|source| file.ends_with(source))
        };
        is_named(frame) || frame.file.as_deref().is_some_and(is_own)
    }
}

fn is_named(frame: &Frame) -> bool {
    let function = frame.function.as_deref().unwrap_or_default().trim_start_matches('<');
    CRATES.iter().any(|name| function.starts_with(name))
}

/// The symbols of the loaded modules, read on first use.
pub(super) struct Symbols<'a> {
    modules: &'a [LoadedModule],
    loaders: HashMap<&'a str, Option<Loader>>,
}

impl<'a> Symbols<'a> {
    pub(super) fn of(modules: &'a [LoadedModule]) -> Self {
        Symbols { modules, loaders: HashMap::new() }
    }

    /// Symbolizes a stack, innermost frame first. If a module cannot be read, its frames only have addresses.
    pub(super) fn frames(&mut self, stack: &[u64]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (depth, &address) in stack.iter().enumerate() {
            // A return address points behind the call, possibly into another line.
            frames.extend(self.at(address, if depth == 0 { address } else { address.saturating_sub(1) }));
        }
        frames
    }

    /// Adds function and line to the stacks in the output of a sanitizer. Cuts each stack at the worker's frames that
    /// called the handler.
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
        // Sanitizers print the address of the call, not the return address.
        let frames: Vec<_> = stack.iter().map(|(_, address)| self.at(*address, *address)).collect();
        let end = of_the_handler(&frames.concat(), libraries).map_or(usize::MAX, |frames| frames.end);
        let (mut explained, mut printed) = (String::new(), 0);
        for (number, ((line, _), frames)) in stack.iter().zip(&frames).enumerate() {
            if printed >= end {
                let _ =
                    writeln!(explained, "    #{number} and the following frames are in the worker itself");
                break;
            }
            printed += frames.len();
            let known =
                frames.iter().filter(|frame| frame.function.is_some()).map(|frame| format!(" {frame}"));
            let known = known.collect::<Vec<_>>().join(",");
            let _ = writeln!(explained, "{line}{}", printable::line(&known));
        }
        explained
    }

    fn at(&mut self, address: u64, probe: u64) -> Vec<Frame> {
        let Some((module, offset)) = place_of(address, self.modules) else {
            return vec![Frame { address, ..Frame::default() }];
        };
        let loader = self.loaders.entry(module.path.as_str()).or_insert_with(|| {
            // The list of modules comes from the zygote and is untrusted.
            plain_file::open(Path::new(&module.path)).ok().and_then(|_| Loader::new(&module.path).ok())
        });
        let plain = Frame { address, module: Some(module.path.clone()), offset, ..Frame::default() };
        match loader {
            Some(loader) => resolved(loader, probe.wrapping_sub(module.bias), &plain),
            None => vec![plain],
        }
    }
}

/// Parses the address in a line of a sanitizer's stack, `#N 0xADDRESS`.
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
    fn only_stack_lines_have_an_address() {
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
    fn frames_of_a_handlers_dependency_belong_to_the_handler() {
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
            frame("/program", "kcov_worker::sys::crash::abort_on_panic::{{closure}}", "/worker/src/crash.rs"),
            frame("/program", "{closure#0}", "/worker/src/crash.rs"),
            frame("/program", "core::panicking::panic_fmt", "/rustc/0/core/panicking.rs"),
            frame("/program", "door::open", "src/main.rs"),
            frame("/program", "<door::File as kcov_worker::handler::OpenFile>::ioctl", "src/main.rs"),
            frame("/program", "kcov_worker::handlers::Handlers::ioctl", "/worker/src/handlers.rs"),
            frame("/program", "door::main", "src/main.rs"),
        ];
        assert_eq!(of_the_handler(&stack, &[]), Some(4..6));
    }

    /// The stack of a handler that hangs in a loop with a coverage point.
    #[test]
    fn recording_is_not_the_handlers_place() {
        let recording = |module: &str| {
            [
                frame(module, "kcov_proto::area::Area::append_pc", "/kcov/proto/src/area.rs"),
                frame(module, "append_pc", "/kcov/worker/src/sys/recording.rs"),
                frame(module, "record_edge_at", "/kcov/worker/src/record.rs"),
            ]
        };
        let worker =
            frame("/worker", "kcov_worker::handlers::Handlers::ioctl", "/kcov/worker/src/handlers.rs");
        let program =
            [&recording("/worker")[..], &[frame("/worker", "spin", "own.rs"), worker.clone()]].concat();
        assert_eq!(of_the_handler(&program, &[]), Some(3..4));
        let glue = frame("/lib.so", "kcov_worker::sys::export::ioctl", "/git/worker/src/sys/export.rs");
        let sleep = frame("/lib.so", "std::thread::sleep", "/rustc/0/library/std/src/thread.rs");
        let own = frame("/lib.so", "spin", "src/lib.rs");
        let library = [&recording("/lib.so")[1..], &[sleep, own, glue, worker.clone()]].concat();
        assert_eq!(of_the_handler(&library, &["/lib.so"]), Some(3..4));
        let bare = [frame("/lib.so", "append_pc", "/git/worker/src/sys/recording.rs")];
        let inlined = [&bare[..], &[frame("/lib.so", "spin", "src/lib.rs"), worker]].concat();
        assert_eq!(of_the_handler(&inlined, &["/lib.so"]), Some(1..2));
    }

    #[test]
    fn text_without_a_stack_is_unchanged() {
        let text = "==1==ERROR\n    #0 0x1 (x+1)\nlast";
        assert_eq!(Symbols::of(&[]).explain(text, &[]), format!("{text}\n"));
    }
}
