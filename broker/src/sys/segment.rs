//! A named piece of shared memory that this process writes and others read.
//!
//! Laws: no reference into it but `&[AtomicU64]`; nothing that is in it is ever an input.
//!
//! Who may write to its file may also cut it short, and a store past its end is a SIGBUS: that is the user who made
//! it, who may as well kill this process, and nobody else. Its pages are there from the start, so that none has to be
//! found when all memory is used up.

use kcov_proto::sync::AtomicU64;
use nix::errno::Errno;
use nix::fcntl::{OFlag, posix_fallocate};
use nix::sys::mman::{shm_open, shm_unlink};
use nix::sys::stat::{Mode, fchmod};
use shared_memory::{Shmem, ShmemConf, ShmemError};
use std::ops::Deref;

/// Why there is no segment.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// It could not be made.
    #[error(transparent)]
    Create(#[from] ShmemError),
    /// A system call failed.
    #[error("{call}: {errno}")]
    System {
        /// Its name.
        call: &'static str,
        /// What it said.
        errno: Errno,
    },
}

/// A segment; unmapped on drop. Its name stays until somebody [`remove`]s it.
pub struct Segment {
    memory: Shmem,
}

impl Segment {
    /// Makes `words` words of zeros under `name`, which there must not be yet, readable for whom `mode` says.
    ///
    /// # Errors
    /// [`SegmentError`]; no name is left then.
    pub fn create(name: &str, words: usize, mode: Mode) -> Result<Self, SegmentError> {
        let mut memory = ShmemConf::new().os_id(name).size(words * 8).create()?;
        Self::prepare(name, words, mode).map_err(|(call, errno)| SegmentError::System { call, errno })?;
        // From here on the name is another process's to remove: this one gives up the right to.
        memory.set_owner(false);
        Ok(Segment { memory })
    }

    fn prepare(name: &str, words: usize, mode: Mode) -> Result<(), (&'static str, Errno)> {
        let file = shm_open(name, OFlag::O_RDWR, Mode::empty()).map_err(|errno| ("shm_open", errno))?;
        posix_fallocate(&file, 0, (words * 8) as libc::off_t).map_err(|errno| ("posix_fallocate", errno))?;
        fchmod(&file, mode).map_err(|errno| ("fchmod", errno))
    }
}

/// Removes the name of a segment, which stays for those that have it open.
///
/// # Errors
/// As `shm_unlink(3)`.
pub fn remove(name: &str) -> Result<(), Errno> {
    shm_unlink(name)
}

impl Deref for Segment {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `len` bytes long and lives as long as `self`; atomics may change under us.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.memory.len() / 8) }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { memory } = self;
        f.debug_struct("Segment").field("name", &memory.get_os_id()).finish_non_exhaustive()
    }
}
