//! Ways to build an instrumented handler: `kcov-broker cargo` for Rust, and the installed SDK.

use super::asked::{Decision, decisions};
use super::branches::{KEY, QUESTIONS};
use anyhow::{Context, Result, ensure};
use kcov_tests::binaries::{directory, workspace};
use kcov_tests::instrumented::{link, succeed};
use kcov_tests::package::{built, with_cargo};
use std::fs;
use std::process::Command;

/// `kcov-broker cargo` instruments the crates of the workspace and no dependency.
#[test]
fn cargo_instruments_only_the_handlers_crate() -> Result<()> {
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
    // The cargo that runs the tests may set this.
    succeed(cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "true").current_dir(folder.path().join("handler")))?;
    let library = link(folder.path(), &folder.path().join("handler/target/release/libhandler.a"), &[])?;
    let found = decisions(&library, &QUESTIONS, 1)?;
    assert!(found.iter().all(|decision| !decision.pcs.is_empty()), "{found:x?}");
    let operands =
        |decision: &Decision| decision.comparisons.iter().map(|record| record[1]).collect::<Vec<_>>();
    assert!(
        found.iter().all(|decision| operands(decision) == [KEY]),
        "the dependency must not be covered: {found:x?}"
    );
    Ok(())
}

/// Programs without the runtime work as without instrumentation: tests of a single crate, a program that is
/// not a worker, a procedural macro that uses an instrumented crate.
#[test]
fn instrumented_programs_without_the_runtime_work() -> Result<()> {
    const DECIDE: &str = "pub fn decide(key: u64) -> u64 {\n    \
        match key { 7 => 1, 1000 => 2, _ => u64::from(key > 77) }\n}\n\
        #[test]\nfn decides() { assert_eq!(decide(78), 1); }\n";
    const DERIVE: &str = "#[proc_macro]\npub fn decided(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
        decide::decide(1000).to_string().parse().unwrap()\n}\n";
    const TOOL: &str = "fn main() { println!(\"{}\", decide::decide(7) + derive::decided!()); }\n";
    let folder = tempfile::tempdir()?;
    let manifest =
        |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{rest}");
    let needs = |name: &str| format!("{name} = {{ path = \"../{name}\" }}\n");
    let derive = format!("[lib]\nproc-macro = true\n[dependencies]\n{}", needs("decide"));
    let tool = format!("[dependencies]\n{}{}", needs("decide"), needs("derive"));
    let members = "[workspace]\nmembers = [\"decide\", \"derive\", \"tool\"]\nresolver = \"3\"\n";
    for (path, text) in [
        ("Cargo.toml", members),
        ("decide/Cargo.toml", &manifest("decide", "")),
        ("decide/src/lib.rs", DECIDE),
        ("derive/Cargo.toml", &manifest("derive", &derive)),
        ("derive/src/lib.rs", DERIVE),
        ("tool/Cargo.toml", &manifest("tool", &tool)),
        ("tool/src/main.rs", TOOL),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, text)?;
    }
    let cargo = |words: &[&str]| {
        let mut cargo = Command::new(directory()?.join("kcov-broker"));
        cargo.arg("cargo").args(words).args(["--offline", "--target-dir", "target"]);
        succeed(cargo.current_dir(folder.path()))
    };
    assert_eq!(cargo(&["run", "--quiet"])?, "3\n");
    assert!(cargo(&["test", "--package", "decide", "--lib"])?.contains("1 passed"));
    Ok(())
}

/// The installed files are enough to build and run a handler, in C and in Rust.
#[test]
fn the_installed_example_is_built_and_covered() -> Result<()> {
    // The same folder each time: cargo rebuilds the crate in a new place.
    let prefix = built()?.join("sdk");
    succeed(Command::new(workspace().join("deploy/install-sdk")).arg(&prefix))?;
    let folder = tempfile::tempdir()?;
    let example = prefix.join("share/doc/kcov-broker/examples/handler");
    succeed(Command::new("cp").arg("-r").arg(example).arg(folder.path()))?;
    let make = |target: &str| {
        let mut make = Command::new("make");
        make.arg("-C").arg(folder.path().join("handler")).arg(target);
        make.env("KCOV_BROKER", directory()?.join("kcov-broker")).env("TARGET", built()?);
        make.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        // With the target directory of other tests' packages, where the dependencies are built already.
        make.env("CARGO_PROFILE_DEV_DEBUG", "true").env("CARGO_NET_OFFLINE", "true");
        succeed(with_cargo(&mut make)?)
    };
    let (in_c, in_rust) = (make("run")?, make("rust")?);
    assert!(in_c.contains(" adder_ioctl ") && in_c.contains("/adder.c:"), "{in_c}");
    assert!(in_rust.contains("adder::Sum::add adder.rs:"), "{in_rust}");
    make("cover")?;
    let mut version = Command::new("pkg-config");
    version.args(["--modversion", "kcov-handler"]).env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
    ensure!(succeed(&mut version)?.trim() == env!("CARGO_PKG_VERSION"), "pkg-config reports another version");
    Ok(())
}
