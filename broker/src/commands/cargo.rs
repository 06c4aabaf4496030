//! `kcov-broker cargo`: runs cargo and instruments the user's own crates.
//!
//! `RUSTFLAGS` would also instrument the coverage runtime itself. Instead, cargo calls this program for the
//! members of the workspace (`RUSTC_WORKSPACE_WRAPPER`), and this program runs rustc with additional flags.
//! Dependencies, the standard library, build scripts and procedural macros are not instrumented, except
//! generic and inlined code that is compiled into a member of the workspace.
//!
//! A binary with instrumented code needs the coverage runtime. Worker programs contain it; tests of a
//! library, other programs and procedural macros that use an instrumented crate do not. They are linked with
//! an archive of empty functions, of which the linker only takes those that are not defined elsewhere.

mod stubs;

use crate::logs::print_message;
use anyhow::Context;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Environment variable that is set when cargo calls this program as a wrapper.
const WRAPS: &str = "KCOV_BROKER_WRAPS_RUSTC";
/// Flags of a stable rustc that instrument a crate: a guard and a PC table entry for each edge, and
/// comparisons.
const INSTRUMENTED: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-trace-pc-guard",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Makes a worker program export the runtime to libraries with handlers.
const EXPORTED: &str = "-Clink-arg=-Wl,--export-dynamic-symbol=__sanitizer_cov_*";
/// Crates of the runtime, which are never instrumented, even as members of the workspace.
const RUNTIME: [&str; 2] = ["kcov_worker", "kcov_proto"];

/// Arguments of `cargo`.
#[derive(Clone, Debug, clap::Args)]
pub struct CargoArgs {
    /// Arguments of cargo, such as build --release
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

/// Replaces this process by cargo.
///
/// # Errors
/// If the path of this program is unknown, or cargo cannot be started.
pub fn run(args: &CargoArgs) -> anyhow::Result<ExitCode> {
    let program =
        std::env::current_exe().context("cannot find the path of this program, which wraps rustc")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(&args.arguments).env("RUSTC_WORKSPACE_WRAPPER", program).env(WRAPS, "1");
    Err(command.exec()).with_context(|| format!("cannot start {}: is it in PATH?", cargo.to_string_lossy()))
}

/// Replaces this process by rustc, if cargo called this program as a wrapper.
#[must_use]
pub fn wrap() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next().filter(|rustc| std::env::var_os(WRAPS).is_some() && is_rustc(rustc))?;
    let arguments: Vec<OsString> = arguments.collect();
    let mut command = Command::new(&rustc);
    command.args(&arguments).args(flags(&arguments));
    if is_linked(&arguments) {
        // If the archive cannot be made, the linker reports undefined symbols.
        command.args(stubs::link_argument(&rustc, &arguments));
    }
    let error = command.exec();
    print_message(format_args!("cannot start {}: {error}", rustc.to_string_lossy()));
    Some(ExitCode::from(crate::front::BROKER_FAILED))
}

fn is_rustc(program: &OsStr) -> bool {
    Path::new(program).file_name().is_some_and(|name| name.to_string_lossy().contains("rustc"))
}

/// The values of an option of rustc.
fn values<'a>(arguments: &'a [OsString], option: &'static str) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = arguments.windows(2).filter(move |pair| pair[0] == option);
    pairs.map(|pair| pair[1].to_string_lossy())
}

/// Whether the crate is a program or a test.
fn is_program(arguments: &[OsString]) -> bool {
    let is_test = || arguments.iter().any(|word| word == "--test");
    values(arguments, "--crate-type").any(|kind| kind == "bin") || is_test()
}

/// Whether rustc links the crate.
fn is_linked(arguments: &[OsString]) -> bool {
    let is_macro = || values(arguments, "--crate-type").any(|kind| kind == "proc-macro");
    let emits = values(arguments, "--emit").any(|what| what.split(',').any(|what| what == "link"))
        || arguments.iter().any(|word| {
            let word = word.to_string_lossy();
            word.strip_prefix("--emit=").is_some_and(|what| what.split(',').any(|what| what == "link"))
        });
    emits && (is_program(arguments) || is_macro())
}

/// The flags to add to a call of rustc.
fn flags(arguments: &[OsString]) -> Vec<&'static str> {
    let values = |option| values(arguments, option);
    let is_skipped = |name: &str| {
        // `___` is the name that cargo uses to query rustc.
        RUNTIME.contains(&name) || name.starts_with("build_script_") || name == "___"
    };
    let name = values("--crate-name").next();
    if name.is_none_or(|name| is_skipped(&name)) || values("--crate-type").any(|kind| kind == "proc-macro") {
        return Vec::new();
    }
    INSTRUMENTED.into_iter().chain(is_program(arguments).then_some(EXPORTED)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags_of(line: &str) -> Vec<&'static str> {
        flags(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn crates_of_the_user_are_instrumented() {
        assert_eq!(flags_of("--crate-name handlers --crate-type lib src/lib.rs"), INSTRUMENTED);
        for program in
            ["--crate-name worker --crate-type bin src/main.rs", "--crate-name handlers src/lib.rs --test"]
        {
            let flags = flags_of(program);
            assert_eq!((flags.len(), flags.last()), (INSTRUMENTED.len() + 1, Some(&EXPORTED)), "{program}");
        }
    }

    #[test]
    fn programs_tests_and_macros_are_linked() {
        let is_linked = |line: &str| is_linked(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        for line in [
            "--crate-name worker --crate-type bin --emit=dep-info,link",
            "--crate-name handlers --emit link --test",
            "--crate-name derive --crate-type proc-macro --emit=dep-info,link",
            "--crate-name build_script_build --crate-type bin --emit=dep-info,link",
        ] {
            assert!(is_linked(line), "{line}");
        }
        for line in [
            "--crate-name handlers --crate-type lib --emit=dep-info,metadata,link",
            "--crate-name worker --crate-type bin --emit=dep-info,metadata",
            "-vV",
        ] {
            assert!(!is_linked(line), "{line}");
        }
    }

    #[test]
    fn other_crates_and_code_of_the_compiler_are_not_instrumented() {
        for line in [
            "-vV",
            "- --crate-name ___ --print=file-names",
            "--crate-name build_script_build --crate-type bin build.rs",
            "--crate-name derive --crate-type proc-macro src/lib.rs",
            "--crate-name kcov_worker --crate-type lib src/lib.rs",
        ] {
            assert!(flags_of(line).is_empty(), "{line}");
        }
    }
}
