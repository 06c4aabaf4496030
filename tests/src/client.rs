//! Builds the C clients into the target directory when their source is newer, statically linked so that they
//! run in any root directory.

use crate::binaries::{lock, target_directory, workspace};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Folders with sources of clients, relative to the root of the tree.
const SOURCES: [&str; 3] = ["tests/clients", "tests/conformance", "deploy/examples/handler"];
/// Folders with handlers in C.
const LIBRARIES: [&str; 3] = ["tests/handlers", "tests/attacks", "worker/examples"];
const FLAGS: [&str; 8] = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-static", "-pthread"];

/// Builds the client `NAME.c` and returns the program.
///
/// # Errors
/// When there is no such source, no C compiler, or the source does not compile without warnings.
pub fn client(name: &str) -> Result<PathBuf> {
    let source = source(name)?;
    let directory = target_directory()?.join("kcov-clients");
    let program = directory.join(name);
    let _building = lock()?;
    if !is_newer(&program, &source)? {
        fs::create_dir_all(&directory)?;
        compile(&source, &program, FLAGS.map(OsString::from))?;
    }
    Ok(program)
}

/// Builds the handler library `NAME.c`, from `tests/handlers`, `tests/attacks` or the examples.
///
/// # Errors
/// As [`client`].
pub fn library(name: &str) -> Result<PathBuf> {
    let include = workspace().join("worker/include");
    let flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread"];
    let flags = flags.map(OsString::from).into_iter().chain(["-I".into(), include.into()]);
    library_with(name, "", flags)
}

/// The same with other flags. `variant` is part of the file name.
///
/// # Errors
/// As [`client`].
pub fn library_with(name: &str, variant: &str, flags: impl IntoIterator<Item = OsString>) -> Result<PathBuf> {
    let file = format!("{name}.c");
    let source =
        LIBRARIES.iter().map(|folder| workspace().join(folder).join(&file)).find(|path| path.is_file());
    let source = source.with_context(|| format!("no handler {file}"))?;
    let directory = target_directory()?.join("kcov-handlers");
    let library = directory.join(format!("lib{name}{variant}.so"));
    let _building = lock()?;
    let header = modified(&workspace().join("worker/include/kcov_handler.h"))?;
    let is_built = fs::metadata(&library).and_then(|meta| meta.modified()).is_ok_and(|built| built > header);
    if !is_built || !is_newer(&library, &source)? {
        fs::create_dir_all(&directory)?;
        compile(&source, &library, flags)?;
    }
    Ok(library)
}

fn source(name: &str) -> Result<PathBuf> {
    let file = format!("{name}.c");
    SOURCES
        .iter()
        .map(|folder| workspace().join(folder).join(&file))
        .find(|path| path.is_file())
        .with_context(|| format!("no client {file}"))
}

/// Returns whether `program` is newer than its source and every header in the same folder.
fn is_newer(program: &Path, source: &Path) -> Result<bool> {
    let Ok(built) = fs::metadata(program).and_then(|meta| meta.modified()) else { return Ok(false) };
    let folder = source.parent().context("the source has no folder")?;
    let mut newest = modified(source)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "h") {
            newest = newest.max(modified(&path)?);
        }
    }
    Ok(built > newest)
}

fn modified(path: &Path) -> Result<SystemTime> {
    Ok(fs::metadata(path)?.modified()?)
}

fn compile(source: &Path, program: &Path, flags: impl IntoIterator<Item = OsString>) -> Result<()> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let unfinished = program.with_extension("unfinished");
    let output = Command::new(&compiler)
        .args(flags)
        .arg("-o")
        .arg(&unfinished)
        .arg(source)
        .output()
        .with_context(|| format!("start of the C compiler {}", compiler.to_string_lossy()))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} does not compile:\n{text}", source.display());
    fs::rename(unfinished, program)?;
    Ok(())
}
