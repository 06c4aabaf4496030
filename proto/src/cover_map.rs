//! What a whole run covered: one bit a PC, whoever's area the record went to, and whether it was stored at all.
//!
//! The bit of `pc` is number `(pc - TEXT_START) / 8` of the map, the lowest bit of a word first: two PCs that are 8
//! apart, as all of ours are, never share one. The map spans all that is above [`TEXT_START`], in 32 MiB of which only the
//! pages that are marked exist.
//!
//! All workers of a tenant mark the same map. A mark is never taken back, so it needs no order: relaxed atomics do, and
//! whoever looks while workers run sees some moment of each word. What has been read is [`CoverMarks`], and as much of
//! an allegation as the records in an area are.

use crate::site::TEXT_START;
use crate::sync::{AtomicU64, Ordering};

/// Bytes of PCs that share a bit.
const GRANULE_BITS: u32 = 3;
/// Words of a map: the 2 GiB from [`TEXT_START`] to the end of the address space, 512 bytes of PCs a word.
pub const WORDS: usize = 1 << (31 - GRANULE_BITS - u64::BITS.trailing_zeros());

/// Where the bit of `pc` is: its word, and the bit in it. Of a PC below [`TEXT_START`], the word is outside of any map.
#[inline]
const fn place(pc: u64) -> (u64, u64) {
    let bit = pc.wrapping_sub(TEXT_START) >> GRANULE_BITS;
    (bit / u64::BITS as u64, 1 << (bit % u64::BITS as u64))
}

/// A map that others mark too.
#[derive(Clone, Copy, Debug)]
pub struct CoverMap<'a> {
    words: &'a [AtomicU64],
}

impl<'a> CoverMap<'a> {
    /// Takes `words` for a map: [`WORDS`] of them, or fewer, where PCs beyond are not marked.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Self {
        CoverMap { words }
    }

    /// Marks `pc`. A PC that is none of the kernel text's leaves no mark.
    #[inline]
    pub fn mark(&self, pc: u64) {
        let (word, bit) = place(pc);
        // One comparison holds off all that is outside.
        let Some(word) = usize::try_from(word).ok().and_then(|word| self.words.get(word)) else { return };
        // Nearly always marked before: a load, and the line of the cache stays shared.
        if word.load(Ordering::Relaxed) & bit == 0 {
            mark_new(word, bit);
        }
    }

    /// Whether `pc` is marked.
    #[must_use]
    pub fn is_marked(&self, pc: u64) -> bool {
        let (word, bit) = place(pc);
        let word = usize::try_from(word).ok().and_then(|word| self.words.get(word));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & bit != 0)
    }
}

#[cold]
#[inline(never)]
fn mark_new(word: &AtomicU64, bit: u64) {
    word.fetch_or(bit, Ordering::Relaxed);
}

/// The marks of a map, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoverMarks {
    words: Vec<u64>,
}

impl CoverMarks {
    /// From the words of a map, those at its end left out if there are too many.
    #[must_use]
    pub fn new(mut words: Vec<u64>) -> Self {
        words.truncate(WORDS);
        CoverMarks { words }
    }

    /// Whether `pc` is marked.
    #[must_use]
    pub fn contains(&self, pc: u64) -> bool {
        let (word, bit) = place(pc);
        let word = usize::try_from(word).ok().and_then(|word| self.words.get(word));
        word.is_some_and(|word| word & bit != 0)
    }

    /// How many are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The first PC of each mark, in order.
    pub fn pcs(&self) -> impl Iterator<Item = u64> {
        let marked = self.words.iter().enumerate().filter(|(_, word)| **word != 0);
        marked.flat_map(|(at, word)| {
            let bits = (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| {
                TEXT_START + ((at as u64 * u64::from(u64::BITS) + u64::from(bit)) << GRANULE_BITS)
            })
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::site::{TEXT_END, pc_of_id, pc_of_index};

    #[test]
    fn the_map_spans_all_that_is_above_the_start() {
        let last = WORDS as u64 - 1;
        assert_eq!(place(TEXT_START), (0, 1));
        assert_eq!(place(u64::MAX), (last, 1 << 63));
        assert!(place(TEXT_END).0 < last);
        for below in [0, 1, TEXT_START - 1, u64::MAX >> 1] {
            assert!(place(below).0 > last, "{below:#x}");
        }
    }

    #[test]
    fn neighbours_have_bits_of_their_own() {
        assert_ne!(place(pc_of_index(0)), place(pc_of_index(1)));
        assert_ne!(place(pc_of_id(0)), place(pc_of_id(1)));
        assert_ne!(place(TEXT_START), place(TEXT_START + 8));
    }
}
