//! The coverage map against a set of numbers.
#![cfg(not(loom))]

use kcov_proto::cover_map::{CoverMap, CoverMarks};
use kcov_proto::site::TEXT_START;
use kcov_proto::sync::{AtomicU64, Ordering};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Words of the map under test: 512 bytes of PCs each.
const WORDS: u64 = 4;

fn pc() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => TEXT_START..TEXT_START + WORDS * 512,
        1 => TEXT_START - 64..TEXT_START + 64,
        1 => TEXT_START + WORDS * 512 - 64..TEXT_START + WORDS * 512 + 64,
        1 => any::<u64>(),
    ]
}

proptest! {
    #[test]
    fn exactly_what_was_marked_is(marked in vec(pc(), 0..200), asked in vec(pc(), 0..50)) {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let map = CoverMap::new(&words);
        marked.iter().for_each(|pc| map.mark(*pc));
        let inside = TEXT_START..TEXT_START + WORDS * 512;
        let expected: BTreeSet<u64> = marked.iter().filter(|pc| inside.contains(pc)).map(|pc| pc & !7).collect();
        let marks = CoverMarks::new(words.iter().map(|word| word.load(Ordering::Relaxed)).collect());
        prop_assert_eq!(marks.count(), expected.len() as u64);
        prop_assert_eq!(marks.pcs().collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
        for pc in marked.iter().chain(&asked) {
            let is_marked = expected.contains(&(pc & !7));
            prop_assert_eq!((map.is_marked(*pc), marks.contains(*pc)), (is_marked, is_marked), "{:#x}", pc);
        }
    }

    #[test]
    fn any_words_are_marks(words in vec(any::<u64>(), 0..20)) {
        let marks = CoverMarks::new(words);
        let pcs: Vec<u64> = marks.pcs().collect();
        prop_assert_eq!(pcs.len() as u64, marks.count());
        prop_assert!(pcs.iter().all(|pc| marks.contains(*pc) && marks.contains(pc + 7)));
    }
}
