//! `kcov-broker cargo`: cargo, with the user's own crates instrumented.
//!
//! Flags for all crates (`RUSTFLAGS`) would instrument the coverage runtime itself. So cargo is told to call this program
//! for the members of the workspace (`RUSTC_WORKSPACE_WRAPPER`), and it passes the call on to rustc with the flags added.
//! Dependencies, the standard library, build scripts and procedural macros stay as they are, but for generic and inlined
//! code of theirs that a member of the workspace is built with.
//!
//! What is linked of instrumented crates needs the runtime. A worker program has it; a test of a crate alone, a program
//! beside it, or a procedural macro that uses one has not: what they call then is an archive of functions that do nothing,
//! of which a linker takes what it finds nowhere else.

mod stubs;

use anyhow::Context;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Set for the calls of rustc.
const WRAPS: &str = "KCOV_BROKER_WRAPS_RUSTC";
/// Have a stable rustc instrument a crate: each edge with a guard and its place in a table, and comparisons.
const INSTRUMENTED: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-trace-pc-guard",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// Have a worker program export the runtime, for libraries of handlers.
const EXPORTED: &str = "-Clink-arg=-Wl,--export-dynamic-symbol=__sanitizer_cov_*";
/// Crates that are the runtime, should they be members of the workspace.
const RUNTIME: [&str; 2] = ["kcov_worker", "kcov_proto"];

/// Arguments of `cargo`.
#[derive(Clone, Debug, clap::Args)]
pub struct CargoArgs {
    /// What cargo is to do, as for cargo itself: build --release
    #[arg(value_name = "ARGS", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<OsString>,
}

/// Becomes cargo.
///
/// # Errors
/// If this program has no path, or there is no cargo.
pub fn run(args: &CargoArgs) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program, which is to wrap rustc")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(&args.arguments).env("RUSTC_WORKSPACE_WRAPPER", program).env(WRAPS, "1");
    Err(command.exec()).with_context(|| format!("cannot start {}: is it in PATH?", cargo.to_string_lossy()))
}

/// Becomes rustc, if cargo called this program to wrap it.
#[must_use]
pub fn wrap() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next().filter(|rustc| std::env::var_os(WRAPS).is_some() && is_rustc(rustc))?;
    let arguments: Vec<OsString> = arguments.collect();
    let mut command = Command::new(&rustc);
    command.args(&arguments).args(flags(&arguments));
    if is_linked(&arguments) {
        // Without them, the linker says what is missing.
        command.args(stubs::link_argument(&rustc, &arguments));
    }
    let error = command.exec();
    eprintln!("kcov-broker: cannot start {}: {error}", rustc.to_string_lossy());
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

/// Whether the crate is a program, a test among them.
fn is_program(arguments: &[OsString]) -> bool {
    let is_test = || arguments.iter().any(|word| word == "--test");
    values(arguments, "--crate-type").any(|kind| kind == "bin") || is_test()
}

/// Whether rustc links the crate.
fn is_linked(arguments: &[OsString]) -> bool {
    let is_loaded = || values(arguments, "--crate-type").any(|kind| kind == "proc-macro");
    let emits = values(arguments, "--emit").any(|what| what.split(',').any(|what| what == "link"))
        || arguments.iter().any(|word| {
            let word = word.to_string_lossy();
            word.strip_prefix("--emit=").is_some_and(|what| what.split(',').any(|what| what == "link"))
        });
    emits && (is_program(arguments) || is_loaded())
}

/// Flags to add to a call of rustc.
fn flags(arguments: &[OsString]) -> Vec<&'static str> {
    let values = |option| values(arguments, option);
    let is_left_out = |name: &str| {
        // The name of what cargo asks rustc about itself has no letter.
        RUNTIME.contains(&name) || name.starts_with("build_script_") || name == "___"
    };
    let name = values("--crate-name").next();
    if name.is_none_or(|name| is_left_out(&name)) || values("--crate-type").any(|kind| kind == "proc-macro") {
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
    fn the_crates_of_the_user_are_instrumented() {
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
    fn what_is_not_theirs_or_runs_in_the_compiler_is_not() {
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
