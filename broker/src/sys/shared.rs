//! Memory that the broker shares with workers: sealed memfds of whole words.
//!
//! Laws: as [`kcov_sys::shared`]; what a worker can write is an allegation.

use super::memfd;
use kcov_proto::sync::AtomicU64;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::unistd::ftruncate;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A memfd of a fixed size, with a mapping of it.
#[derive(Debug)]
pub struct SharedWords {
    file: OwnedFd,
    mapping: kcov_sys::shared::SharedWords,
}

impl SharedWords {
    /// Makes a memfd of `words` zero words. Its size is sealed, so an access never raises SIGBUS.
    ///
    /// # Errors
    /// As `memfd_create(2)`, `ftruncate(2)` and `mmap(2)`.
    pub fn new(name: &std::ffi::CStr, words: usize) -> Result<Self, Errno> {
        let length = words.checked_mul(8).and_then(|length| length.try_into().ok()).ok_or(Errno::EINVAL)?;
        let file = memfd::create(name)?;
        ftruncate(&file, length)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Self::open(file, words)
    }

    /// Maps the first `words` words of a memfd that [`new`](Self::new) made in another process.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn open(file: OwnedFd, words: usize) -> Result<Self, Errno> {
        let mapping = kcov_sys::shared::SharedWords::map(&file, words, true)?;
        Ok(SharedWords { file, mapping })
    }

    /// Duplicates the descriptor and maps the same memory again.
    ///
    /// # Errors
    /// As `fcntl(2)` and `mmap(2)`.
    pub fn try_clone(&self) -> Result<Self, Errno> {
        let file = self.file.try_clone().map_err(|_| Errno::last())?;
        Self::open(file, self.len())
    }

    /// Returns the memfd, for a process that may write to it.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Returns a descriptor that cannot be mapped writable.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn read_only(&self) -> Result<OwnedFd, Errno> {
        memfd::Reopener::new()?.reopen(self.file.as_fd(), OFlag::O_RDONLY)
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        &self.mapping
    }
}
