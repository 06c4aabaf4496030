//! Finding programs: the file of a command, as `execvp(3)` does, and the worker program.

use anyhow::Context;
use nix::unistd::{AccessFlags, access};
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why a command cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No directory in `PATH` has it.
    #[error("{}: command not found: it is in no directory of PATH; install it, or give its path", .0.to_string_lossy())]
    NotFound(OsString),
    /// The file does not exist.
    #[error("{}: command not found: there is no such file", .0.display())]
    NoFile(PathBuf),
    /// The file does not exist, and its relative path starts in the `directory` of a tenant.
    #[error(
        "{}: command not found: relative paths start in `directory`, which is {}",
        .path.display(),
        .directory.display()
    )]
    NotFoundFrom {
        /// The full path.
        path: PathBuf,
        /// The directory.
        directory: PathBuf,
    },
    /// The file cannot be executed.
    #[error("{}: {reason}", .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A string contains a NUL byte.
    #[error("{what} contains a NUL byte")]
    Nul {
        /// Which string.
        what: &'static str,
    },
}

impl CommandError {
    /// The exit status that shells use for this error.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            CommandError::NotFound(_) | CommandError::NoFile(_) | CommandError::NotFoundFrom { .. } => 127,
            CommandError::NotExecutable { .. } | CommandError::Nul { .. } => 126,
        }
    }
}

/// Converts `text` to a C string. `what` names it in the error.
///
/// # Errors
/// [`CommandError::Nul`].
pub fn c_string(text: &OsStr, what: &'static str) -> Result<CString, CommandError> {
    CString::new(text.as_bytes()).map_err(|_| CommandError::Nul { what })
}

/// Variables of an environment, as `execve(2)` takes them.
pub fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<CString> {
    let entry = |(mut entry, value): (OsString, OsString)| {
        entry.push("=");
        entry.push(value);
        CString::new(entry.into_vec()).ok()
    };
    variables.into_iter().filter_map(entry).collect()
}

/// Finds the file that `execvp(3)` would execute for `command`, with this process's `PATH`.
///
/// # Errors
/// [`CommandError`].
pub fn find(command: &OsStr) -> Result<PathBuf, CommandError> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    find_in(command, &path, Path::new(""))
}

/// Like [`find`], with another `PATH` and another working directory.
///
/// # Errors
/// [`CommandError`].
pub fn find_in(command: &OsStr, path: &OsStr, directory: &Path) -> Result<PathBuf, CommandError> {
    if command.as_bytes().contains(&b'/') {
        let program = directory.join(command);
        return check_executable(&program).map(|()| program);
    }
    let mut refused = None;
    for element in std::env::split_paths(path) {
        // An empty element is the working directory.
        let element = if element.as_os_str().is_empty() { Path::new(".") } else { &element };
        let candidate = directory.join(element).join(command);
        match check_executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(CommandError::NoFile(_)) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| CommandError::NotFound(command.into())))
}

fn check_executable(path: &Path) -> Result<(), CommandError> {
    let refuse = |reason| CommandError::NotExecutable { path: path.into(), reason };
    match path.metadata() {
        Ok(facts) if facts.is_dir() => Err(refuse("is a directory")),
        Ok(facts) if facts.permissions().mode() & 0o111 == 0 => Err(refuse("not executable (chmod +x it)")),
        Ok(_) => access(path, AccessFlags::X_OK).map_err(|_| refuse("permission denied")),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(refuse("permission denied")),
        Err(_) => Err(CommandError::NoFile(path.into())),
    }
}

/// The worker program: `given`, or else the one that was built or installed with this program.
///
/// # Errors
/// If the file does not exist.
pub fn worker(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let (path, way_out) = match given {
        Some(path) => {
            (path.to_owned(), "build it (a program of yours that calls kcov_worker::main), or name another")
        }
        None => {
            let program = std::env::current_exe().context("cannot find the path of this program")?;
            // The package installs it outside of PATH, because no user runs it.
            let beside = program.with_file_name("kcov-worker");
            let installed = program.with_file_name("../libexec/kcov-broker/kcov-worker");
            let own = if !beside.exists() && installed.exists() { installed } else { beside };
            (own, "build it (cargo build --package kcov-worker), or name it with --worker")
        }
    };
    path.canonicalize()
        .with_context(|| format!("cannot use the worker program {}: {way_out}", path.display()))
}
