//! Unique collection (`UNIQUE_ENABLE`): the area begins with a bitmap of the points that it has recorded.
//!
//! Each point has an index; the bit with this index is set once the point is in the trace. While it is set,
//! the point is suppressed. The trace, with its count, is behind the bitmap. A point whose index is past the
//! bitmap is recorded each time.
//!
//! The indices are small, dense and the same in every worker of a tenant. Workers assign them:
//!
//! | index | point |
//! |---|---|
//! | 0 | none; this bit is never set |
//! | [`HEARTBEAT`] | the heartbeat, which the broker records as well |
//! | from [`FIRST`] on | the points of instrumented modules, in the order in which these were loaded |
//! | then | the sites of the program, in the order of their [section](crate::site) |
//! | then | the explicit ids |
//!
//! To clients the bitmap is opaque: they may only set all of it to 0.

use crate::area::Area;
use crate::site::{index_of_pc, pc_of_index};
use crate::sync::{AtomicU64, Ordering};

/// Index of the heartbeat.
pub const HEARTBEAT: u64 = 1;
/// Index of the first other point.
pub const FIRST: u64 = 2;

/// The place of a point in a bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bit {
    /// Index of the word.
    pub word: u64,
    /// The word with only this bit set.
    pub mask: u64,
}

impl Bit {
    /// The bit of the point with this index.
    #[inline]
    #[must_use]
    pub const fn of_index(index: u64) -> Self {
        Bit { word: index / 64, mask: 1 << (index % 64) }
    }
}

/// The number in its section of the site with exactly this PC.
#[must_use]
pub fn number_of_site(pc: u64) -> Option<u64> {
    index_of_pc(pc).filter(|number| pc_of_index(*number) == pc)
}

/// The memory of an enabled instance: where records go, and how.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// The words for records.
    pub area: Area<'a>,
    /// The words in front of them that are the bitmap; empty without one.
    pub bitmap: &'a [AtomicU64],
    /// Whether others may append at the same time.
    pub shared: bool,
}

impl<'a> Trace<'a> {
    /// Splits the words of an area. `None` if there are fewer than the bitmap and one record need.
    #[must_use]
    pub fn new(words: &'a [AtomicU64], bitmap: u64, shared: bool) -> Option<Self> {
        let (bitmap, trace) = words.split_at_checked(usize::try_from(bitmap).ok()?)?;
        Some(Trace { area: Area::new(trace)?, bitmap, shared })
    }

    /// Sets the count and the bitmap to 0.
    pub fn reset(&self) {
        // The count first: a point that is recorded in between is in the new trace.
        self.area.reset();
        self.bitmap.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

impl<'a> From<Area<'a>> for Trace<'a> {
    /// An area without a bitmap and with one writer.
    fn from(area: Area<'a>) -> Self {
        Trace { area, bitmap: &[], shared: false }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::site::{ID_BASE, SITE_BASE};

    #[test]
    fn only_the_exact_pc_of_a_site_is_one() {
        let pc = pc_of_index(67);
        assert_eq!(number_of_site(pc), Some(67));
        for other in [pc - 1, pc + 1, pc - 5, SITE_BASE, ID_BASE + 8, 0] {
            assert_eq!(number_of_site(other), None, "{other:#x}");
        }
    }

    #[test]
    fn each_index_has_its_own_bit() {
        assert_eq!(Bit::of_index(0), Bit { word: 0, mask: 1 });
        assert_eq!(Bit::of_index(67), Bit { word: 1, mask: 8 });
    }

    #[test]
    fn the_bitmap_and_the_trace_share_the_words() {
        let words: Vec<AtomicU64> = (0..8).map(AtomicU64::new).collect();
        let trace = Trace::new(&words, 3, false).expect("room for 4 records");
        assert_eq!((trace.bitmap.len(), trace.area.count(), trace.area.pc_capacity()), (3, 3, 4));
        assert!(Trace::new(&words, 6, false).is_some());
        assert!([7, 8, 9, u64::MAX].into_iter().all(|bitmap| Trace::new(&words, bitmap, false).is_none()));
    }
}
