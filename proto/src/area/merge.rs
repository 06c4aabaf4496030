//! Appending the records of a private buffer to an area, when a remote section stops (`kcov_move_area` in
//! kernel/kcov.c, Linux 6.12).
//!
//! | count found | effect |
//! |---|---|
//! | below the capacity | as many whole records as fit are appended |
//! | the capacity | the count stays; in CMP mode the beginning of a record fills the words that no whole record has |
//! | above the capacity | no word changes |
//!
//! In CMP mode the words behind the last whole record get the beginning of the next record, as in the kernel:
//! it copies words, and counts whole records.
//!
//! The broker grants one merge at a time, and a remote instance has no other writer. But the client may store a
//! count at any time. So the count is replaced by compare-and-swap: a reset is not undone.

use super::Area;
use crate::abi::{CMP_WORDS, TraceMode};
use crate::sync::Ordering;

/// How often a merge is tried while others change the count.
#[cfg(not(loom))]
const MAX_TRIES: usize = 64;
/// How often a merge is tried while others change the count.
#[cfg(loom)]
const MAX_TRIES: usize = 3;

/// The result of [`Area::merge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Whole records that were appended.
    pub stored: u64,
    /// Records that were dropped, because the area had no room for them.
    pub lost: u64,
}

impl Area<'_> {
    /// Appends the records of `buffer`, an area that nobody else uses. Both have `mode`.
    pub fn merge(&self, buffer: &Area<'_>, mode: TraceMode) -> Merged {
        let (entry, available) = match mode {
            TraceMode::Pc => (1, buffer.count().min(buffer.pc_capacity())),
            TraceMode::Cmp => (CMP_WORDS as usize, buffer.count().min(buffer.cmp_capacity())),
        };
        let source = &buffer.records[..available as usize * entry];
        for _ in 0..MAX_TRIES {
            let found = self.count();
            let Some(free) = self.free(found, entry) else { break };
            let room = free.len().min(source.len());
            for (to, from) in free.iter().zip(source) {
                // Relaxed: the count publishes whole records. Nothing publishes the words behind the last one.
                to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            let stored = (room / entry) as u64;
            let more = found + stored;
            // Release: as in `append_pc_within`, the payload is stored before the count.
            if self.count.compare_exchange(found, more, Ordering::Release, Ordering::Relaxed).is_ok() {
                return Merged { stored, lost: available - stored };
            }
        }
        Merged { stored: 0, lost: available }
    }

    /// The words behind `count` records of `entry` words; `None` if the area has no room for so many.
    fn free(&self, count: u64, entry: usize) -> Option<&[crate::sync::AtomicU64]> {
        let count = usize::try_from(count).ok().filter(|&count| count <= self.records.len() / entry)?;
        self.records.get(count * entry..)
    }
}
