//! Files and folders that a tenant names.

use nix::unistd::{AccessFlags, access};
use std::io;
use std::path::Path;

/// Whether a folder is there.
pub fn directory(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match path.metadata() {
        Ok(facts) if facts.is_dir() => Ok(()),
        Ok(_) => Err(format!("{shown} is no directory")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("there is no directory {shown}: make it (mkdir -p {shown}), or name another"))
        }
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// Whether a socket can have this name (`unix(7)`).
pub fn socket(path: &Path) -> Result<(), String> {
    /// Bytes of `sun_path` but the NUL.
    const MOST: usize = 107;
    let length = path.as_os_str().len();
    if length <= MOST {
        return Ok(());
    }
    Err(format!("is {length} bytes long, and the path of a socket has {MOST} at most: choose a shorter one"))
}

/// Whether a file can be executed.
pub fn program(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let facts = path.metadata().map_err(|error| format!("there is no program {shown}: {error}"))?;
    if !facts.is_file() {
        return Err(format!("{shown} is no file"));
    }
    access(path, AccessFlags::X_OK).map_err(|errno| format!("{shown} cannot be executed: {}", errno.desc()))
}

/// Whether output can be appended to a file. No step of the path may be a link, as it is opened with root's rights.
pub fn output(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path);
    directory(parent)?;
    match parent.canonicalize() {
        Ok(real) if real != parent => Err(format!(
            "{} leads through a link, which is not followed: write {}",
            parent.display(),
            real.display()
        )),
        _ if path.is_symlink() => Err(format!("{} is a link, which is not followed", path.display())),
        _ if path.exists() && !path.is_file() => Err(format!("{} is no regular file", path.display())),
        _ => Ok(()),
    }
}
