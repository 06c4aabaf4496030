//! The programs under test.
//!
//! `KCOV_BIN_DIR` names their directory (`deploy/test` sets it). Without it they are built here, in the
//! profile and target directory of the running test program, because cargo builds the binaries of a package
//! only for the tests of that package.

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Names of the programs.
pub const NAMES: [&str; 2] = ["kcov-broker", "kcov-worker"];

/// Returns the directory of the programs.
///
/// # Errors
/// When the programs do not build or are missing from `KCOV_BIN_DIR`.
pub fn directory() -> Result<&'static Path> {
    static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match DIRECTORY.get_or_init(|| find().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(message) => anyhow::bail!("{message}"),
    }
}

fn find() -> Result<PathBuf> {
    let directory = match std::env::var_os("KCOV_BIN_DIR") {
        Some(named) => std::path::absolute(named)?,
        None => build()?,
    };
    for name in NAMES {
        ensure!(directory.join(name).is_file(), "no {name} in {}", directory.display());
    }
    Ok(directory)
}

/// Returns a worker program with its own handlers: an example of the worker package.
///
/// # Errors
/// As [`directory`], or when there is no such example.
pub fn example(name: &str) -> Result<PathBuf> {
    let program = directory()?.join("examples").join(name);
    ensure!(program.is_file(), "no example {}", program.display());
    Ok(program)
}

/// Builds the programs into the profile directory of the running test program.
fn build() -> Result<PathBuf> {
    let directory = profile_directory()?;
    let target = target_directory()?;
    let profile = match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let _building = lock()?;
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--package", "kcov-broker", "--package", "kcov-worker", "--bins", "--examples"])
        .args(["--profile", profile, "--target-dir"])
        .arg(&target)
        .current_dir(workspace())
        .output()
        .context("cargo build of the programs under test")?;
    ensure!(
        output.status.success(),
        "the programs under test do not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(directory)
}

/// Test programs are in `TARGET/PROFILE/deps`, all others in `TARGET/PROFILE`.
fn profile_directory() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let directory = program.parent().context("the test program has no directory")?;
    let is_test = directory.file_name().is_some_and(|name| name == "deps");
    let profile = if is_test { directory.parent() } else { Some(directory) };
    profile.map(Path::to_path_buf).context("the test program is not in a target directory")
}

/// Returns the target directory of the running test program.
///
/// # Errors
/// When the test program is not in a target directory.
pub fn target_directory() -> Result<PathBuf> {
    profile_directory()?.parent().map(Path::to_path_buf).context("the profile directory has no parent")
}

/// Locks builds: some runners run test programs at the same time.
///
/// # Errors
/// When the lock file cannot be created or locked.
pub fn lock() -> Result<File> {
    let file = File::create(target_directory()?.join("kcov-tests.lock"))?;
    file.lock()?;
    Ok(file)
}

/// Root of the source tree.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}
