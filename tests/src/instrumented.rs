//! The handler `branches`, with its function compiled by each compiler that can instrument.

use crate::binaries::workspace;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiler and its instrumentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compiler {
    /// gcc: `trace-pc`.
    Gcc,
    /// clang: `trace-pc-guard`.
    Clang,
    /// clang: `trace-pc`.
    ClangCalls,
    /// rustc: `trace-pc-guard`.
    Rustc,
}

impl Compiler {
    /// All of them.
    pub const ALL: [Compiler; 4] = [Compiler::Gcc, Compiler::Clang, Compiler::ClangCalls, Compiler::Rustc];

    /// Source of a function: `decide`, which has branches, or `widths`.
    #[must_use]
    pub fn source(self, function: &str) -> PathBuf {
        handlers().join(function).with_extension(if self == Compiler::Rustc { "rs" } else { "c" })
    }

    fn command(self) -> (&'static str, &'static [&'static str]) {
        const C: &str = "-g -fPIC -c";
        match self {
            Compiler::Gcc => ("gcc", &[C, "-fsanitize-coverage=trace-pc,trace-cmp"]),
            Compiler::Clang => {
                ("clang", &[C, "-fsanitize-coverage=trace-pc-guard,pc-table,trace-cmp,trace-div"])
            }
            Compiler::ClangCalls => ("clang", &[C, "-fsanitize-coverage=trace-pc,trace-cmp,trace-div"]),
            Compiler::Rustc => (
                "rustc",
                &[
                    "--edition=2024 --crate-type=staticlib -g -Ccodegen-units=1",
                    "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3",
                    "-Cllvm-args=-sanitizer-coverage-trace-pc-guard -Cllvm-args=-sanitizer-coverage-pc-table",
                    "-Cllvm-args=-sanitizer-coverage-trace-compares",
                ],
            ),
        }
    }

    /// Builds the library in `folder`: the function instrumented and with the flags `more`, the handler
    /// around it without either.
    ///
    /// # Errors
    /// When a compiler is missing or fails.
    pub fn library(self, folder: &Path, function: &str, more: &[&str]) -> Result<PathBuf> {
        let object = folder.join("function.o");
        let (compiler, flags) = self.command();
        let words = flags.iter().flat_map(|flags| flags.split(' ')).chain(more.iter().copied());
        succeed(Command::new(compiler).args(words).arg("-o").arg(&object).arg(self.source(function)))?;
        link(folder, &object, &[])
    }
}

/// Links the handler with a function in an object file or archive, with the flags `more`.
///
/// # Errors
/// As [`Compiler::library`].
pub fn link(folder: &Path, function: &Path, more: &[&str]) -> Result<PathBuf> {
    let library = folder.join("libbranches.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-I"]);
    cc.arg(workspace().join("worker/include")).arg("-o").arg(&library);
    succeed(cc.arg(handlers().join("branches.c")).arg(function).args(more))?;
    Ok(library)
}

fn handlers() -> PathBuf {
    workspace().join("tests/handlers")
}

/// Runs a command that must succeed. Returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the message has its standard error.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start of {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}
