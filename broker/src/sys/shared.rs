//! Memory that the broker shares with workers: sealed memfds of whole words.
//!
//! Laws: no reference into it but `&[AtomicU64]`; a word that a worker can write is read once, checked, then used.

use super::memfd;
use kcov_proto::sync::AtomicU64;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::ftruncate;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// A memfd of a fixed size, mapped here; unmapped on drop.
#[derive(Debug)]
pub struct SharedWords {
    file: OwnedFd,
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to the process and all access is atomic.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// `words` zero words in a memfd that nobody can shrink or grow: no access to it ever raises SIGBUS.
    ///
    /// # Errors
    /// As `memfd_create(2)`, `ftruncate(2)` and `mmap(2)`.
    pub fn new(name: &std::ffi::CStr, words: usize) -> Result<Self, Errno> {
        let length = words.checked_mul(8).and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
        let file = memfd::create(name)?;
        ftruncate(&file, length.get() as libc::off_t)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Self::open(file, words)
    }

    /// The first `words` words of a memfd that [`new`](Self::new) made, in another process.
    ///
    /// # Errors
    /// As `mmap(2)`.
    pub fn open(file: OwnedFd, words: usize) -> Result<Self, Errno> {
        let length = words.checked_mul(8).and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other object.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0)? };
        Ok(SharedWords { file, start: start.cast(), words })
    }

    /// The same memory once more.
    ///
    /// # Errors
    /// As `fcntl(2)` and `mmap(2)`.
    pub fn try_clone(&self) -> Result<Self, Errno> {
        let file = self.file.try_clone().map_err(|_| Errno::last())?;
        Self::open(file, self.words)
    }

    /// The memfd, for a process that may write to it.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// A descriptor that cannot be mapped writable.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn read_only(&self) -> Result<OwnedFd, Errno> {
        memfd::Reopener::new()?.reopen(self.file.as_fd(), nix::fcntl::OFlag::O_RDONLY)
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `words` long and lives as long as `self`; atomics may change under us.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        let Self { file: _, start, words } = self;
        // SAFETY: `new` made exactly this mapping, and no reference outlives `self`.
        // A failure leaves the mapping in place, which is harmless.
        let _ = unsafe { munmap(start.cast(), *words * 8) };
    }
}
