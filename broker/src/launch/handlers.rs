//! Libraries with handlers, as operators name them: `LIBRARY[:CONFIG]`.

use super::programs::c_string;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Splits `LIBRARY[:CONFIG]` into the path and the rest, which begins with the colon.
#[must_use]
pub fn split(given: &OsStr) -> (&Path, &[u8]) {
    let bytes = given.as_bytes();
    let end = bytes.iter().position(|&byte| byte == b':').unwrap_or(bytes.len());
    (Path::new(OsStr::from_bytes(&bytes[..end])), &bytes[end..])
}

/// The full path of the library in `LIBRARY[:CONFIG]`.
///
/// # Errors
/// If it is not a file, or its path contains a colon.
pub fn library(given: &OsStr) -> anyhow::Result<PathBuf> {
    let (path, _) = split(given);
    let has_colon = |path: &Path| {
        let shown = path.display();
        anyhow::anyhow!(
            "cannot use the handler {shown}: its path contains a colon, which starts the configuration; link it to \
             another path"
        )
    };
    let full = path.canonicalize().map_err(|error| match file_with_colon(given.as_bytes()) {
        Some(file) => has_colon(file),
        None => no_library(path, &error),
    })?;
    anyhow::ensure!(full.is_file(), "cannot use the handler {}: it is not a file", path.display());
    if full.as_os_str().as_bytes().contains(&b':') {
        return Err(has_colon(&full));
    }
    Ok(full)
}

/// The file that the user probably meant, if there is one whose path contains a colon.
fn file_with_colon(given: &[u8]) -> Option<&Path> {
    let colons = given.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let ends = colons.skip(1).chain([given.len()]);
    ends.map(|end| Path::new(OsStr::from_bytes(&given[..end]))).find(|path| path.is_file())
}

fn no_library(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    if error.kind() != io::ErrorKind::NotFound {
        return anyhow::anyhow!("cannot use the handler {shown}: {error}");
    }
    let directory = std::env::current_dir().ok().filter(|_| path.is_relative());
    let directory = directory.map_or_else(String::new, |directory| format!(" in {}", directory.display()));
    anyhow::anyhow!(
        "cannot use the handler {shown}: there is no such file{directory}; build it (cc -shared -fPIC, see man \
         kcov-handler), or name another one"
    )
}

/// The argument of the worker program that names a handler, with the full path of its library.
///
/// # Errors
/// As [`library`].
pub fn argument(given: &OsStr) -> anyhow::Result<CString> {
    let (_, config) = split(given);
    let argument = [b"--handler=", library(given)?.as_os_str().as_bytes(), config].concat();
    Ok(c_string(OsStr::from_bytes(&argument), "the name of a handler")?)
}
