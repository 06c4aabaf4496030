//! The coverage map compared with a set of numbers.
#![cfg(not(loom))]

use kcov_proto::cover_map::{CoverMap, CoverMarks, PAGE};
use kcov_proto::site::TEXT_START;
use kcov_proto::sync::{AtomicU8, Ordering};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Range of the PCs of a one-page map.
const SPAN: u64 = PAGE as u64 * 8;
/// Number of the page of a whole map that starts with [`TEXT_START`].
const FIRST: usize = (1 << 28) / PAGE;

proptest! {
    #[test]
    fn exactly_the_marked_pcs_are_marked(
        marked in vec(TEXT_START..TEXT_START + SPAN, 0..200),
        asked in vec(any::<u64>(), 0..50),
    ) {
        let bytes: [AtomicU8; PAGE] = std::array::from_fn(|_| AtomicU8::new(0));
        let map = CoverMap::new(&bytes);
        marked.iter().for_each(|pc| map.mark(*pc));
        let expected: BTreeSet<u64> = marked.iter().map(|pc| pc & !7).collect();
        let mut marks = CoverMarks::default();
        marks.take(FIRST, &bytes.each_ref().map(|byte| byte.load(Ordering::Relaxed)));
        prop_assert_eq!(marks.count(), expected.len() as u64);
        prop_assert_eq!(marks.pcs().collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
        for pc in (TEXT_START..TEXT_START + SPAN).step_by(5) {
            let is_marked = expected.contains(&(pc & !7));
            prop_assert_eq!((map.is_marked(pc), marks.contains(pc)), (is_marked, is_marked), "{:#x}", pc);
        }
        for pc in asked.into_iter().map(|pc| pc | TEXT_START) {
            prop_assert_eq!(marks.contains(pc), expected.contains(&(pc & !7)));
        }
    }

    #[test]
    fn any_page_can_be_added(number in any::<usize>(), bytes in vec(any::<u8>(), PAGE)) {
        let mut marks = CoverMarks::default();
        marks.take(number % (2 * FIRST), bytes.as_slice().try_into().unwrap());
        let pcs: Vec<u64> = marks.pcs().collect();
        prop_assert_eq!(pcs.len(), bytes.iter().filter(|byte| **byte != 0).count());
        prop_assert!(pcs.iter().all(|pc| marks.contains(*pc) && marks.contains(pc + 7)));
    }
}
