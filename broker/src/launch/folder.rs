//! Folders that a process writes to with more rights than their owner has.
//!
//! A user who can rename or replace entries of a folder, or of a folder above it, can redirect a write by path
//! to any file. So a [`Folder`] is opened once, component by component, and everything in it is reached relative to
//! that descriptor, without following links. For root, [`Folder::open`] also refuses
//! - symbolic links on the way that belong to another user (links of root, such as `/var/run`, are followed);
//! - folders that belong to another user, or that other users can write to.
//!
//! Another user means: neither root, nor the user who called `sudo`, nor the one whom [`Folder::open`] is told
//! to trust. Processes of ordinary users can only do what their user may do, so nothing is refused to them.

mod walk;

#[cfg(test)]
mod tests;

use crate::sys::plain_file;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A system call failed.
    #[error("{}: {}", .path.display(), .errno.desc())]
    System {
        /// The component of the path.
        path: PathBuf,
        /// Its error.
        errno: Errno,
    },
    /// A symbolic link on the way.
    #[error(
        "{} is a symbolic link of uid {uid}, who can redirect what root writes: name the folder that it leads to",
        .path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The owner of the folder.
    #[error(
        "{} belongs to uid {uid}, who can redirect what root writes: choose a folder of root, or start kcov-broker as \
         that user",
        .path.display()
    )]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The mode of the folder.
    #[error(
        "other users can write to {} (mode {mode:04o}): choose a folder in it, or take the permission away (chmod \
         go-w {})",
        .path.display(), .path.display()
    )]
    Writable {
        /// The folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    file: File,
    path: PathBuf,
}

impl Folder {
    /// Opens a folder and checks it. As root, `trusted` may own it as well.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(path: &Path, trusted: Option<u32>) -> Result<Self, FolderError> {
        let folder = walk::open(path, trusted, false)?;
        folder.check(trusted)?;
        Ok(folder)
    }

    /// Like [`open`](Self::open). Creates it, and the folders above it, if they do not exist: only their owner
    /// may enter them.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open_or_create(path: &Path, trusted: Option<u32>) -> Result<Self, FolderError> {
        let folder = walk::open(path, trusted, true)?;
        folder.check(trusted)?;
        Ok(folder)
    }

    /// Opens the folder in which `path` is, which may belong to any user, and returns it with the last component. For a single
    /// file that is created or replaced there.
    ///
    /// # Errors
    /// [`FolderError`]; `EISDIR` if the path ends with `..` or `/`.
    pub fn of_file(path: &Path) -> Result<(Self, PathBuf), FolderError> {
        let name = path.file_name().filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/"));
        let name = name.ok_or_else(|| FolderError::System { path: path.to_owned(), errno: Errno::EISDIR })?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        Ok((walk::open(above.unwrap_or(Path::new(".")), None, false)?, name.into()))
    }

    /// The real path at the time of the open, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check(&self, trusted: Option<u32>) -> Result<(), FolderError> {
        let facts = fstat(&self.file).map_err(|errno| self.failed("", errno))?;
        let path = self.path.clone();
        match (is_trusted(facts.st_uid, trusted), facts.st_mode & 0o022) {
            (false, _) => Err(FolderError::Owner { path, uid: facts.st_uid }),
            (true, 1..) if geteuid().is_root() => {
                Err(FolderError::Writable { path, mode: facts.st_mode & 0o7777 })
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, name: &str, errno: Errno) -> FolderError {
        FolderError::System { path: self.path.join(name), errno }
    }

    /// Locks the folder until this value is dropped. Returns whether that succeeded.
    #[must_use]
    pub fn try_lock(&self) -> bool {
        self.file.try_lock().is_ok()
    }

    /// Returns the facts about an entry; `None` if there is none.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<FileStat> {
        fstatat(&self.file, name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()
    }

    /// The names of the entries, at most `most`.
    ///
    /// # Errors
    /// As `readdir(3)`.
    pub fn names(&self, most: usize) -> Result<Vec<String>, FolderError> {
        // The magic link leads to this very folder, wherever it is now.
        let entries = fs::read_dir(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let entries = entries.map_err(|error| self.failed("", errno(&error)))?;
        Ok(entries.take(most).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }

    /// Opens a folder in this one.
    ///
    /// # Errors
    /// `ENOTDIR` for a link or a file.
    pub fn folder(&self, name: &str) -> Result<Folder, FolderError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file =
            openat(&self.file, name, flags, Mode::empty()).map_err(|errno| self.failed(name, errno))?;
        Ok(Folder { file: file.into(), path: self.path.join(name) })
    }

    /// Creates a folder in this one, for its owner only, and opens it.
    ///
    /// # Errors
    /// `EEXIST` if the name is in use.
    pub fn create_folder(&self, name: &str) -> Result<Folder, FolderError> {
        mkdirat(&self.file, name, Mode::S_IRWXU).map_err(|errno| self.failed(name, errno))?;
        self.folder(name)
    }

    /// Creates a file, for writing.
    ///
    /// # Errors
    /// `EEXIST` if the name is in use.
    pub fn create(&self, name: &str, mode: u32) -> Result<File, FolderError> {
        self.open_for(Path::new(name), OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL, mode)
    }

    /// Opens a file with these flags. Does not follow a link, nor wait for the reader of a pipe.
    ///
    /// # Errors
    /// `ELOOP` for a link; `EMLINK` for a regular file with another name, which may be a file of another user.
    pub fn open_for(&self, name: &Path, flags: OFlag, mode: u32) -> Result<File, FolderError> {
        let failed = |errno| FolderError::System { path: self.path.join(name), errno };
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let truncates = flags.contains(OFlag::O_TRUNC);
        let mode = Mode::from_bits_truncate(mode);
        let file = openat(&self.file, name, flags - OFlag::O_TRUNC, mode).map_err(failed)?;
        let facts = fstat(&file).map_err(failed)?;
        let is_regular = facts.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        if is_regular && facts.st_nlink > 1 {
            return Err(failed(Errno::EMLINK));
        }
        let file = File::from(file);
        if is_regular && truncates {
            file.set_len(0).map_err(|error| failed(errno(&error)))?;
        }
        Ok(file)
    }

    /// Reads a regular file of at most `most` bytes; `None` if there is no such file.
    #[must_use]
    pub fn read(&self, name: &str, most: u64) -> Option<Vec<u8>> {
        let file = self.open_for(Path::new(name), OFlag::O_RDONLY, 0).ok()?;
        plain_file::contents(&file, most).ok()
    }

    /// Renames an entry, which replaces another one.
    ///
    /// # Errors
    /// As `renameat(2)`.
    pub fn rename(&self, from: &str, to: impl AsRef<Path>) -> Result<(), FolderError> {
        renameat(&self.file, from, &self.file, to.as_ref()).map_err(|errno| self.failed(from, errno))
    }

    /// Removes a file or a link.
    ///
    /// # Errors
    /// As `unlinkat(2)`.
    pub fn remove(&self, name: &Path) -> Result<(), Errno> {
        unlinkat(&self.file, name, UnlinkatFlags::NoRemoveDir)
    }

    /// Removes an entry with everything below it. Follows no link.
    ///
    /// # Errors
    /// As `unlinkat(2)`.
    pub fn remove_all(&self, name: &str) -> Result<(), FolderError> {
        let path = format!("/proc/self/fd/{}/{name}", self.file.as_raw_fd());
        fs::remove_dir_all(path).map_err(|error| self.failed(name, errno(&error)))
    }
}

/// Opens a file that the caller named for output, and truncates it. Creates it with mode 0666, less the umask.
///
/// # Errors
/// As [`Folder::of_file`] and [`Folder::open_for`].
pub fn create_output(path: &Path) -> Result<File, FolderError> {
    // Links in /dev and /proc, such as /dev/stdout and /dev/fd/3, are the kernel's and lead to what is open.
    if path.starts_with("/dev") || path.starts_with("/proc") {
        let named =
            |error: std::io::Error| FolderError::System { path: path.to_owned(), errno: errno(&error) };
        return File::create(path).map_err(named);
    }
    let (folder, name) = Folder::of_file(path)?;
    folder.open_for(&name, OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC, 0o666)
}

/// Returns whether nobody but root, the caller, and `trusted` can do anything as `uid`.
fn is_trusted(uid: u32, trusted: Option<u32>) -> bool {
    let own = geteuid();
    // sudo(8) sets it to the caller; otherwise it is under the control of root.
    let caller = || std::env::var("SUDO_UID").ok()?.parse().ok();
    !own.is_root() || uid == 0 || Some(uid) == trusted || Some(uid) == caller()
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
