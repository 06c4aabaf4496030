//! Ways to build an instrumented handler: cargo for one in Rust, what is installed for one in C.

use super::asked::{Decision, decisions};
use super::branches::{KEY, QUESTIONS};
use anyhow::{Context, Result, ensure};
use kcov_tests::binaries::{directory, workspace};
use kcov_tests::instrumented::{link, succeed};
use kcov_tests::{Run, client};
use std::fs;
use std::process::Command;

/// `kcov-broker cargo` instruments the crates of the workspace, and no dependency.
#[test]
fn cargo_instruments_the_handlers_crate_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |path: &str, text: &str| -> Result<()> {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        Ok(fs::write(path, text)?)
    };
    write("plain/Cargo.toml", "[package]\nname = \"plain\"\nedition = \"2024\"\n[workspace]\n")?;
    let plain =
        "#[inline(never)]\npub fn is_less(a: u64, b: u64) -> bool { if a == 77 { return false; } a < b }\n";
    write("plain/src/lib.rs", plain)?;
    let manifest = "[package]\nname = \"handler\"\nedition = \"2024\"\n[workspace]\n\
        [lib]\ncrate-type = [\"staticlib\"]\n[dependencies]\nplain = { path = \"../plain\" }\n";
    write("handler/Cargo.toml", manifest)?;
    let handler = "#[unsafe(no_mangle)]\npub extern \"C\" fn decide(key: u32, value: u64) -> i32 {\n    \
        if key == 0x1234 { return 1; }\n    plain::is_less(key.into(), value).into()\n}\n";
    write("handler/src/lib.rs", handler)?;

    let mut cargo = Command::new(directory()?.join("kcov-broker"));
    cargo.args(["cargo", "build", "--release", "--offline", "--target-dir", "target"]);
    // The tests themselves may be run by a cargo that sets this.
    succeed(cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "true").current_dir(folder.path().join("handler")))?;
    let library = link(folder.path(), &folder.path().join("handler/target/release/libhandler.a"), &[])?;
    let found = decisions(&library, &QUESTIONS, 1)?;
    assert!(found.iter().all(|decision| !decision.pcs.is_empty()), "{found:x?}");
    let operands =
        |decision: &Decision| decision.comparisons.iter().map(|record| record[1]).collect::<Vec<_>>();
    assert!(
        found.iter().all(|decision| operands(decision) == [KEY]),
        "the dependency is not covered: {found:x?}"
    );
    Ok(())
}

/// What is installed for handlers in C is enough to build one.
#[test]
fn pkg_config_finds_the_header() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let prefix = folder.path().join("usr");
    succeed(Command::new(workspace().join("deploy/install-sdk")).arg(&prefix))?;
    let ask = |what: &str| {
        let mut command = Command::new("pkg-config");
        command.args([what, "kcov-handler"]).env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        succeed(&mut command).map(|said| said.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let flags = [ask("--cflags")?, ask("--variable=gcc_coverage")?].concat();
    let library = folder.path().join("libprobe.so");
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC"]).args(flags).arg("-o").arg(&library);
    succeed(gcc.arg(workspace().join("tests/handlers/probe.c")))?;
    let program = client("handler_probe")?;
    let run = Run::new([program.into_os_string(), "records".into()]);
    let outcome = run.option("--handler").option(&library.to_string_lossy()).output()?;
    assert!(outcome.stdout.starts_with("pcs "), "{}", outcome.stderr);
    assert!(
        !outcome.stdout.starts_with("pcs 3 "),
        "its own records and those of the instrumentation: {}",
        outcome.stdout
    );
    ensure!(ask("--modversion")? == [env!("CARGO_PKG_VERSION")], "the version of the package");
    Ok(())
}
