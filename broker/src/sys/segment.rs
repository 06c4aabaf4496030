//! Named shared memory that this process writes and others read.
//!
//! Laws: no reference into it except `&[AtomicU64]`; this process never reads input from it.
//!
//! A process that may write to the file can also truncate it, and then a store past its end raises SIGBUS.
//! Only the user who made it may, who could kill this process as well. All pages are allocated at the start,
//! so that a store does not fail when memory runs out.

use kcov_proto::sync::AtomicU64;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, posix_fallocate};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::{Mode, fchmod};
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::ops::Deref;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Why a segment could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The segment could not be created or mapped.
    #[error(transparent)]
    Create(#[from] ShmemError),
    /// A system call failed.
    #[error("{call}: {errno}")]
    System {
        /// Its name.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
}

/// A mapped segment; unmapped on drop. Its name stays until a process [`remove`]s it.
pub struct Segment {
    memory: Shmem,
    /// Holds the lock that shows that this process lives, see [`is_locked`].
    _lock: OwnedFd,
}

impl Segment {
    /// Creates a segment of `words` zero words under a new `name`, with the permissions `mode`.
    ///
    /// # Errors
    /// [`SegmentError`]; the name is removed again.
    pub fn create(name: &str, words: usize, mode: Mode) -> Result<Self, SegmentError> {
        let mut memory = ShmemConf::new().os_id(name).size(words * 8).create()?;
        let lock =
            Self::prepare(name, words, mode).map_err(|(call, errno)| SegmentError::System { call, errno })?;
        // From here on another process removes the name: the drop must not.
        memory.set_owner(false);
        Ok(Segment { memory, _lock: lock })
    }

    fn prepare(name: &str, words: usize, mode: Mode) -> Result<OwnedFd, (&'static str, Errno)> {
        let file = shm_open(name, OFlag::O_RDWR, Mode::empty()).map_err(|errno| ("shm_open", errno))?;
        posix_fallocate(&file, 0, (words * 8) as libc::off_t).map_err(|errno| ("posix_fallocate", errno))?;
        // Before others may read the file, and so could lock it.
        fcntl(&file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK)))
            .map_err(|errno| ("fcntl(F_OFD_SETLK)", errno))?;
        fchmod(&file, mode).map_err(|errno| ("fchmod", errno))?;
        Ok(file)
    }
}

/// A lock of a whole file.
fn whole(kind: libc::c_int) -> libc::flock {
    libc::flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: 0, l_len: 0, l_pid: 0 }
}

/// Returns whether the process that made the segment `file` lives, in whatever PID namespace: it holds a write lock,
/// which the kernel releases when it ends. Others may not write the file, and so can only hold read locks.
#[must_use]
pub fn is_locked(file: BorrowedFd<'_>) -> bool {
    let mut found = whole(libc::F_RDLCK);
    // If it fails, nothing is known.
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found)).is_err() || found.l_type != libc::F_UNLCK as libc::c_short
}

/// Removes the name of a segment. Processes that have it open keep it.
///
/// # Errors
/// As `shm_unlink(3)`.
pub fn remove(name: &str) -> Result<(), Errno> {
    shm_unlink(name)
}

impl Deref for Segment {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `len` bytes long and lives as long as `self`; atomics may
        // change under us.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.memory.len() / 8) }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory, _lock } = self;
        f.debug_struct("Segment").field("name", &memory.get_os_id()).finish_non_exhaustive()
    }
}
