//! Packages outside the workspace with their own worker program, as users make them.

use crate::binaries::{directory, lock, target_directory, workspace};
use crate::instrumented::succeed;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A package that depends on the worker crate.
#[derive(Debug)]
pub struct Package {
    folder: PathBuf,
    name: String,
}

impl Package {
    /// Creates the package in `folder` with these files, given by relative path and content.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn new(folder: &Path, name: &str, files: &[(&str, &str)]) -> Result<Self> {
        let package = Package { folder: folder.join(name), name: name.to_owned() };
        let manifest = format!(
            "[package]\nname = {name:?}\nedition = \"2024\"\n[workspace]\n\
             [dependencies]\nkcov-worker = {{ path = {:?} }}\n[build-dependencies]\ncc = \"1\"\n",
            workspace().join("worker")
        );
        for (path, text) in [("Cargo.toml", manifest.as_str())].iter().chain(files) {
            let path = package.path(path);
            fs::create_dir_all(path.parent().context("the file has no folder")?)?;
            fs::write(path, text)?;
        }
        // The versions that were tested and that are available here.
        fs::copy(workspace().join("Cargo.lock"), package.path("Cargo.lock"))?;
        Ok(package)
    }

    /// A path in the package.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Builds the package without instrumentation. Returns its program.
    ///
    /// # Errors
    /// When it does not build.
    pub fn build(&self) -> Result<PathBuf> {
        self.build_by(Command::new(cargo()))
    }

    /// Builds the package by `kcov-broker cargo`, which instruments its own code. Returns its program.
    ///
    /// # Errors
    /// When it does not build.
    pub fn build_instrumented(&self) -> Result<PathBuf> {
        let mut command = Command::new(directory()?.join("kcov-broker"));
        command.arg("cargo").env("CARGO", cargo());
        self.build_by(command)
    }

    fn build_by(&self, mut command: Command) -> Result<PathBuf> {
        let target = built()?;
        // The next package of this name is built to the same path.
        let _building = lock()?;
        command.args(["build", "--offline", "--target-dir"]).arg(&target);
        // The cargo that runs the tests may set this.
        succeed(command.env("CARGO_PROFILE_DEV_DEBUG", "true").current_dir(&self.folder))?;
        let program = self.path("program");
        fs::copy(target.join("debug").join(&self.name), &program)?;
        Ok(program)
    }
}

/// The target directory that all such packages share: their dependencies are built once.
///
/// # Errors
/// When it cannot be created.
pub fn built() -> Result<PathBuf> {
    let directory = target_directory()?.join("packages");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Lets a command find the cargo that runs the tests, as root may have none in its `PATH`.
///
/// # Errors
/// When the folder of cargo cannot be in `PATH`.
pub fn with_cargo(command: &mut Command) -> Result<&mut Command> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::var_os("CARGO").and_then(|cargo| Some(Path::new(&cargo).parent()?.to_owned()));
    let folders = own.into_iter().chain(std::env::split_paths(&path));
    Ok(command.env("PATH", std::env::join_paths(folders)?))
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
