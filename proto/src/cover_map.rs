//! All PCs that a run has covered, one byte for each, independent of any area and of whether a record was
//! stored.
//!
//! The byte of `pc` has the index `low / 8`, where `low` is the low 32 bits of `pc`. These identify a PC, and
//! two PCs that are at least 8 apart, as all of ours are, never share a byte. The byte is 0 until the PC is
//! marked. A map spans 512 MiB, of which only the touched pages exist. One bit for each PC would need an
//! eighth of that, but cost 0.7 ns more for each record, which doubles its cost.
//!
//! All workers of a tenant mark the same map. A mark is never removed, so relaxed atomics suffice; a reader
//! that looks while workers run sees each byte at some moment. The result of reading is a [`CoverMarks`],
//! which is an allegation like the records of an area.

use crate::site::TEXT_START;
use crate::sync::{AtomicU8, Ordering};
use std::collections::BTreeMap;

/// log2 of the number of PCs that share a byte.
const GRANULE_BITS: u32 = 3;
/// Size of a map in bytes.
pub const BYTES: usize = 1 << (u32::BITS - GRANULE_BITS);
/// High 32 bits of every PC.
const HIGH: u64 = TEXT_START & !0xffff_ffff;

/// Index of the byte of `pc`.
#[inline]
const fn place(pc: u64) -> usize {
    (pc as u32 >> GRANULE_BITS) as usize
}

/// A shared map of [`BYTES`] bytes. A smaller power of two also works; PCs that far apart then share a byte.
#[derive(Clone, Copy, Debug)]
pub struct CoverMap<'a, const N: usize = BYTES> {
    bytes: &'a [AtomicU8; N],
}

impl<'a, const N: usize> CoverMap<'a, N> {
    /// Wraps the bytes of a map.
    #[must_use]
    pub fn new(bytes: &'a [AtomicU8; N]) -> Self {
        const { assert!(N.is_power_of_two() && N <= BYTES, "the size must be a power of two, at most BYTES") };
        CoverMap { bytes }
    }

    /// Marks `pc`. Stores only if it is not marked yet, so that the cache line stays shared between workers.
    #[inline]
    pub fn mark(&self, pc: u64) {
        if !self.is_marked(pc) {
            self.byte(pc).store(1, Ordering::Relaxed);
        }
    }

    /// Returns whether `pc` is marked.
    #[inline]
    #[must_use]
    pub fn is_marked(&self, pc: u64) -> bool {
        self.byte(pc).load(Ordering::Relaxed) != 0
    }

    #[inline]
    fn byte(&self, pc: u64) -> &'a AtomicU8 {
        &self.bytes[place(pc) & (N - 1)]
    }
}

/// The marks of a map, read once: one bit for each PC, for the pages that have any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoverMarks {
    pages: BTreeMap<usize, [u64; PAGE / 64]>,
}

/// Size in bytes of the pages in which a map is read.
pub const PAGE: usize = 4096;

impl CoverMarks {
    /// Adds page `number` of a map. Pages beyond the end of the map are ignored.
    pub fn take(&mut self, number: usize, bytes: &[u8; PAGE]) {
        if number >= BYTES / PAGE || bytes.iter().all(|byte| *byte == 0) {
            return;
        }
        let word =
            |bytes: &[u8]| (0..).zip(bytes).fold(0, |word, (bit, byte)| word | u64::from(*byte != 0) << bit);
        let mut page = [0; PAGE / 64];
        page.iter_mut().zip(bytes.chunks(64)).for_each(|(bits, bytes)| *bits = word(bytes));
        self.pages.insert(number, page);
    }

    /// Returns whether `pc` is marked.
    #[must_use]
    pub fn contains(&self, pc: u64) -> bool {
        let at = place(pc);
        let page = self.pages.get(&(at / PAGE));
        page.is_some_and(|page| page[at % PAGE / 64] >> (at % 64) & 1 == 1)
    }

    /// Number of marked PCs.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.pages.values().flatten().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The PC of each mark, in ascending order. The low 3 bits, which the map does not keep, are 0.
    pub fn pcs(&self) -> impl Iterator<Item = u64> {
        let words = self.pages.iter().flat_map(|(number, page)| (number * PAGE..).step_by(64).zip(page));
        words.flat_map(|(first, word)| {
            let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| HIGH | ((first + bit) as u64) << GRANULE_BITS)
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::site::{TEXT_END, pc_of_id, pc_of_index};

    #[test]
    fn the_map_spans_all_pcs() {
        assert_eq!((place(TEXT_START), place(u64::MAX)), (BYTES / 2, BYTES - 1));
        assert!(place(TEXT_END) < BYTES);
    }

    #[test]
    fn neighbouring_pcs_have_different_bytes() {
        assert_ne!(place(pc_of_index(0)), place(pc_of_index(1)));
        assert_ne!(place(pc_of_id(0)), place(pc_of_id(1)));
        assert_ne!(place(TEXT_START), place(TEXT_START + 8));
    }

    #[test]
    fn pages_beyond_the_end_are_ignored() {
        let mut marks = CoverMarks::default();
        [BYTES / PAGE, usize::MAX].into_iter().for_each(|number| marks.take(number, &[1; PAGE]));
        assert_eq!(marks.count(), 0);
        marks.take(BYTES / PAGE - 1, &[1; PAGE]);
        assert_eq!((marks.count(), marks.pcs().last()), (PAGE as u64, Some(!7)));
    }
}
