//! `kcov-broker symbolize`: prints function, file and line of PCs.

mod missing;
#[cfg(test)]
mod tests;

use crate::logs::print_message;
use crate::printable;
use crate::symbolize::{Location, Symbolizer};
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
    /// PCs, in hexadecimal (with or without 0x) or in decimal; read from standard input if none is given
    #[arg(value_name = "PC")]
    pub pcs: Vec<String>,
    /// Worker program of the run [default: the one that `run` uses]
    #[arg(long, value_name = "PATH", visible_alias = "binary")]
    pub worker: Option<PathBuf>,
    /// Library, as it was given to the run; repeat in the same order. Also accepts libraries that it loads
    #[arg(long = "handler", value_name = "LIBRARY[:CONFIG]")]
    pub handlers: Vec<OsString>,
    /// Print one JSON object per line
    #[arg(long)]
    pub json: bool,
}

/// Prints one line per PC. If a PC has no location, prints hints on standard error and returns exit code 1.
///
/// # Errors
/// If a binary cannot be read, a PC is not a number, or reading or printing fails.
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
    printer.missing.hints().for_each(print_message);
    Ok(if printer.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The path in `LIBRARY[:CONFIG]`.
fn library(handler: &OsStr) -> &Path {
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
    /// Prints the PCs of each line before it reads the next one, so that it can be used as a filter.
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
                anyhow::anyhow!("{word:?} is not a PC: use hexadecimal, like 0xffffffff81001488, or decimal")
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
            return writeln!(out, "{}", printable::json(&object.to_string()));
        }
        match location {
            Some(location) => writeln!(out, "{pc:#018x} {}", printable::line(&location.to_string())),
            None => writeln!(out, "{pc:#018x} ??"),
        }
    }
}

/// Words of digits only are decimal: in hexadecimal, PCs of the kernel text range contain letters.
fn parse_pc(word: &str) -> Result<u64, std::num::ParseIntError> {
    match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None if word.bytes().all(|byte| byte.is_ascii_digit()) => word.parse(),
        None => u64::from_str_radix(word, 16),
    }
}
