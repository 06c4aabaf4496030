//! What a whole run covered: one byte a PC, whoever's area the record went to, and whether it was stored at all.
//!
//! The byte of `pc` is number `low / 8` of the map, where `low` are the low 32 bits, which are enough to tell a PC: two
//! PCs that are 8 apart, as all of ours are, never share one. It is 0 until the PC is marked. Of the 512 MiB of a map only
//! the pages exist that somebody marked. A bit a PC would take an eighth of that, and two thirds of a nanosecond more
//! a record, which is as much as the rest of it.
//!
//! All workers of a tenant mark the same map. A mark is never taken back, so it needs no order: relaxed atomics do, and
//! whoever looks while workers run sees some moment of each byte. What has been read is [`CoverMarks`], and as much of
//! an allegation as the records in an area are.

use crate::site::TEXT_START;
use crate::sync::{AtomicU8, Ordering};
use std::collections::BTreeMap;

/// Bytes of PCs that share a byte, as a power of two.
const GRANULE_BITS: u32 = 3;
/// Bytes of a map.
pub const BYTES: usize = 1 << (u32::BITS - GRANULE_BITS);
/// High bits of every PC.
const HIGH: u64 = TEXT_START & !0xffff_ffff;

/// Where the byte of `pc` is.
#[inline]
const fn place(pc: u64) -> usize {
    (pc as u32 >> GRANULE_BITS) as usize
}

/// A map that others mark too, of [`BYTES`] bytes; or of a smaller power of two, where PCs that are so far apart share
/// a byte.
#[derive(Clone, Copy, Debug)]
pub struct CoverMap<'a, const N: usize = BYTES> {
    bytes: &'a [AtomicU8; N],
}

impl<'a, const N: usize> CoverMap<'a, N> {
    /// Takes `bytes` for a map.
    #[must_use]
    pub fn new(bytes: &'a [AtomicU8; N]) -> Self {
        const { assert!(N.is_power_of_two() && N <= BYTES, "so that every PC has a byte") };
        CoverMap { bytes }
    }

    /// Marks `pc`. Stored only where it is news: the line of the cache stays shared between workers.
    #[inline]
    pub fn mark(&self, pc: u64) {
        if !self.is_marked(pc) {
            self.byte(pc).store(1, Ordering::Relaxed);
        }
    }

    /// Whether `pc` is marked.
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

/// The marks of a map, read once: a bit a PC, in the pages that have any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoverMarks {
    pages: BTreeMap<usize, [u64; PAGE / 64]>,
}

/// Bytes of a map that are taken in at a time.
pub const PAGE: usize = 4096;

impl CoverMarks {
    /// Takes in page `number` of a map; those beyond its end are ignored.
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

    /// Whether `pc` is marked.
    #[must_use]
    pub fn contains(&self, pc: u64) -> bool {
        let at = place(pc);
        let page = self.pages.get(&(at / PAGE));
        page.is_some_and(|page| page[at % PAGE / 64] >> (at % 64) & 1 == 1)
    }

    /// How many are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.pages.values().flatten().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The first PC of each mark, in order.
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
    fn neighbours_have_bytes_of_their_own() {
        assert_ne!(place(pc_of_index(0)), place(pc_of_index(1)));
        assert_ne!(place(pc_of_id(0)), place(pc_of_id(1)));
        assert_ne!(place(TEXT_START), place(TEXT_START + 8));
    }

    #[test]
    fn pages_beyond_the_end_are_no_marks() {
        let mut marks = CoverMarks::default();
        [BYTES / PAGE, usize::MAX].into_iter().for_each(|number| marks.take(number, &[1; PAGE]));
        assert_eq!(marks.count(), 0);
        marks.take(BYTES / PAGE - 1, &[1; PAGE]);
        assert_eq!((marks.count(), marks.pcs().last()), (PAGE as u64, Some(!7)));
    }
}
