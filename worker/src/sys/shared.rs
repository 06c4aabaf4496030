//! Mappings of memory that other processes change at any time.
//!
//! Laws: no reference into it but `&[AtomicU64]`; each word is read once, clamped, then used.

use kcov_proto::sync::{AtomicU8, AtomicU64};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// Bytes of a mapping that is populated at once.
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
    /// Maps the first `words` words of `file`, which must be sealed against shrinking: reading past its end would be
    /// a SIGBUS.
    ///
    /// # Errors
    /// As `mmap(2)`; `EINVAL` for no words at all.
    pub fn map(file: impl AsFd, words: usize, writable: bool) -> Result<Self, Errno> {
        let length = words.checked_mul(8).and_then(NonZeroUsize::new).ok_or(Errno::EINVAL)?;
        let protection =
            if writable { ProtFlags::PROT_READ | ProtFlags::PROT_WRITE } else { ProtFlags::PROT_READ };
        // A page fault costs more than a page that is not used after all.
        let populate = if length.get() <= SMALL { MapFlags::MAP_POPULATE } else { MapFlags::empty() };
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other object.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED | populate, file, 0)? };
        Ok(SharedWords { start: start.cast(), words })
    }
}

impl SharedWords {
    /// The same memory by the byte. Whoever uses it so uses no words of it: what mixed sizes do is not defined.
    #[must_use]
    pub fn bytes(&self) -> &[AtomicU8] {
        // SAFETY: as in `deref`, and bytes need no alignment.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.words * 8) }
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
        let Self { start, words } = self;
        // SAFETY: `map` made exactly this mapping, and no reference outlives `self`.
        // A failure leaves the mapping in place, which is harmless.
        let _ = unsafe { munmap(start.cast(), *words * 8) };
    }
}
