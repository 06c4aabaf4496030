//! Checks files and directories that a configuration names.

use crate::launch::folder::{Folder, FolderError};
use nix::unistd::{AccessFlags, access};
use std::io;
use std::path::Path;

/// Checks that a directory exists.
pub fn directory(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match path.metadata() {
        Ok(facts) if facts.is_dir() => Ok(()),
        Ok(_) => Err(format!("{shown} is not a directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("there is no directory {shown}: create it (mkdir -p {shown}), or name another one"))
        }
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// Checks that no other user than `trusted` can redirect what root writes to a folder. A folder that does not exist
/// is created by root, and in order.
pub fn own_folder(path: &Path, trusted: Option<u32>) -> Result<(), String> {
    match Folder::open(path, trusted) {
        Ok(_) | Err(FolderError::System { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Checks that a path can be the name of a socket (`unix(7)`).
pub fn socket(path: &Path) -> Result<(), String> {
    /// Size of `sun_path` without the NUL.
    const MAX: usize = 107;
    let length = path.as_os_str().len();
    if length <= MAX {
        return Ok(());
    }
    Err(format!("is {length} bytes long, and the path of a socket is limited to {MAX}: choose a shorter one"))
}

/// Checks that a file can be executed.
pub fn program(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let facts = path.metadata().map_err(|error| format!("there is no program {shown}: {error}"))?;
    if !facts.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    access(path, AccessFlags::X_OK).map_err(|errno| format!("{shown} cannot be executed: {}", errno.desc()))
}

/// Checks that output can be appended to a file. No component of the path may be a symbolic link, because the
/// file is opened with root's permissions.
pub fn output(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    directory(parent)?;
    match parent.canonicalize() {
        Ok(real) if real != parent => Err(format!(
            "{} contains a symbolic link, which is not followed: write {}",
            parent.display(),
            real.display()
        )),
        _ if path.is_symlink() => {
            Err(format!("{} is a symbolic link, which is not followed", path.display()))
        }
        _ if path.exists() && !path.is_file() => Err(format!("{} is not a regular file", path.display())),
        _ => Ok(()),
    }
}
