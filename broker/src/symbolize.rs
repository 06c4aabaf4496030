//! `kcov-broker symbolize`: from PCs to function, file and line, out of the binaries of the handlers.
//!
//! Nothing is executed, and no broker need run: a PC follows from the binaries alone. Those of recording macros follow
//! from the program's link section of sites ([`kcov_proto::site`]), those of instrumented code from where it calls back
//! or from its guards ([`kcov_proto::region`]).

mod debug_info;
mod elf;
mod flow;
mod location;
mod missing;
mod module;
mod symbolizer;
mod trace_calls;

pub use debug_info::{SourceFrame, SourceLine, frames_at};
pub use location::{Kind, Location};
pub use module::Module;
pub use symbolizer::{SymbolizeError, Symbolizer};

use anyhow::Context;
use missing::Missing;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `symbolize`.
#[derive(Clone, Debug, clap::Args)]
pub struct SymbolizeArgs {
    /// PCs: hexadecimal, with or without 0x, or decimal; from standard input if there are none
    #[arg(value_name = "PC")]
    pub pcs: Vec<String>,
    /// Worker program of the run; the one that `run` takes if not given
    #[arg(long, value_name = "PATH", visible_alias = "binary")]
    pub worker: Option<PathBuf>,
    /// Library of the run, as it was named there; again for more, in the same order. So can be others that it brings
    #[arg(long = "handler", value_name = "LIBRARY[:CONFIG]")]
    pub handlers: Vec<OsString>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Prints a line a PC. The exit code is 1 if one of them is no point of the binaries; which one is missing is told then.
///
/// # Errors
/// If a binary cannot be read, the worker program is none, a PC is no number, or reading or printing fails.
pub fn run(args: &SymbolizeArgs) -> anyhow::Result<ExitCode> {
    let worker = match &args.worker {
        Some(path) => path.clone(),
        None => crate::launch::programs::worker(None)?,
    };
    let symbolizer = Symbolizer::new(&worker, args.handlers.iter().map(|handler| library(handler)))?;
    let mut printer = Printer { symbolizer: &symbolizer, json: args.json, missing: Missing::default() };
    let mut out = std::io::stdout().lock();
    if args.pcs.is_empty() {
        printer.print_lines(std::io::stdin().lock(), &mut out)?;
    } else {
        printer.print_words(args.pcs.iter().map(String::as_str), &mut out)?;
    }
    printer.missing.hints().for_each(|hint| eprintln!("kcov-broker: {hint}"));
    Ok(if printer.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The file of a library, less what follows on its name for the handler.
#[must_use]
pub fn library(handler: &OsStr) -> &Path {
    let bytes = handler.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
    Path::new(OsStr::from_bytes(&bytes[..end]))
}

struct Printer<'a> {
    symbolizer: &'a Symbolizer,
    json: bool,
    missing: Missing,
}

impl Printer<'_> {
    /// Prints the PCs of each line before it reads the next.
    fn print_lines(&mut self, input: impl BufRead, out: &mut impl Write) -> anyhow::Result<()> {
        for line in input.lines() {
            let line = line.context("cannot read PCs from standard input")?;
            self.print_words(line.split_whitespace(), out)?;
        }
        Ok(())
    }

    fn print_words<'w>(
        &mut self,
        words: impl Iterator<Item = &'w str>,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        for word in words {
            let pc = parse_pc(word).map_err(|_| {
                anyhow::anyhow!(
                    "{word:?} is no PC: give it in hexadecimal, as 0xffffffff81001488, or in decimal"
                )
            })?;
            let location = self.symbolizer.resolve(pc);
            if location.is_none() {
                self.missing.add(pc, self.symbolizer.has(pc));
            }
            self.print(pc, location.as_ref(), out).context("cannot print")?;
        }
        out.flush().context("cannot print")
    }

    fn print(&self, pc: u64, location: Option<&Location>, out: &mut impl Write) -> std::io::Result<()> {
        if self.json {
            let object = serde_json::json!({ "pc": format!("{pc:#018x}"), "location": location });
            return writeln!(out, "{object}");
        }
        match location {
            Some(location) => writeln!(out, "{pc:#018x} {location}"),
            None => writeln!(out, "{pc:#018x} ??"),
        }
    }
}

/// Digits alone are decimal: a PC of the text range that is written in hexadecimal has a letter.
fn parse_pc(word: &str) -> Result<u64, std::num::ParseIntError> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None if word.bytes().all(|byte| byte.is_ascii_digit()) => word.parse(),
        None => u64::from_str_radix(word, 16),
    }
}

#[cfg(test)]
mod tests;
