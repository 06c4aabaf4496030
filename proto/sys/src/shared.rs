//! Mappings of memory that other processes change at any time.
//!
//! Laws: no reference into it except `&[AtomicU64]` and `&[AtomicU8]`; each word is read once, checked, then
//! used.

use kcov_proto::sync::{AtomicU8, AtomicU64};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// Bytes up to which a mapping is populated at once.
const SMALL: usize = 16 * 1024;

/// A shared mapping of whole words; unmapped on drop.
#[derive(Debug)]
pub struct SharedWords {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to the process and all access is atomic.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps the first `words` words of `file`, which must be sealed against shrinking: an access past its end
    /// raises SIGBUS.
    ///
    /// # Errors
    /// As `mmap(2)`; `EINVAL` if `words` is 0.
    pub fn map(file: impl AsFd, words: usize, writable: bool) -> Result<Self, Errno> {
        let length = words.checked_mul(8).and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
        let protection =
            if writable { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        // A page fault costs more than a page that turns out to be unused.
        let populate = if length.get() <= SMALL { MapFlags::MAP_POPULATE } else { MapFlags::empty() };
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other object.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED | populate, file, 0)? };
        Ok(SharedWords { start: start.cast(), words })
    }

    /// Returns the same memory as bytes. Do not mix it with access by words: accesses of mixed size are not
    /// defined.
    #[must_use]
    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: as in `deref`, and bytes need no alignment.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.words * 8) }
    }
}

impl Deref for SharedWords {
    type Target = [AtomicU64];

    #[inline]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, `words` long and lives as long as `self`; atomics may change
        // under us.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        let Self { start, words } = self;
        // SAFETY: `map` made exactly this mapping, and no reference outlives `self`.
        // A failure leaves the mapping in place, which is harmless.
        let _ = unsafe { munmap(start.cast(), *words * 8) };
    }
}
