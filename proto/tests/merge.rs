//! Merging a private buffer into an area, against `kcov_move_area` of the kernel in plain integers.

use kcov_proto::abi::TraceMode;
use kcov_proto::area::{Area, Merged};
use kcov_proto::sync::{AtomicU64, Ordering};
use proptest::prelude::*;

/// `kcov_move_area`, in words. Returns the area afterwards.
fn kernel(mode: TraceMode, area: &[u64], buffer: &[u64]) -> Vec<u64> {
    let entry = if mode == TraceMode::Pc { 1 } else { 4 };
    let (found, available) = (area[0], buffer[0]);
    let mut area = area.to_vec();
    if found > (area.len() as u64 - 1) / entry {
        return area;
    }
    let occupied = 1 + (found * entry) as usize;
    let moved = (area.len() - occupied).min((available * entry) as usize);
    area[occupied..occupied + moved].copy_from_slice(&buffer[1..=moved]);
    area[0] = found + moved as u64 / entry;
    area
}

fn shared(words: &[u64]) -> Vec<AtomicU64> {
    words.iter().map(|&word| AtomicU64::new(word)).collect()
}

fn values(words: &[AtomicU64]) -> Vec<u64> {
    words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

fn merge(mode: TraceMode, area: &[u64], buffer: &[u64]) -> (Vec<u64>, Merged) {
    let (area, buffer) = (shared(area), shared(buffer));
    let merged = Area::new(&area).unwrap().merge(&Area::new(&buffer).unwrap(), mode);
    (values(&area), merged)
}

fn mode() -> impl Strategy<Value = TraceMode> {
    prop_oneof![Just(TraceMode::Pc), Just(TraceMode::Cmp)]
}

/// A header that a client may have stored, with the interesting ones around the capacity.
fn header() -> impl Strategy<Value = u64> {
    let huge = prop_oneof![
        Just(u64::MAX),
        Just(1 << 59),
        Just(1 << 60),
        Just(1 << 61),
        Just(1 << 62),
        Just(1 << 63)
    ];
    prop_oneof![8 => 0_u64..80, 1 => huge]
}

proptest! {
    #[test]
    fn equals_the_kernel(
        mode in mode(),
        header in header(),
        words in 2_usize..70,
        buffer_words in 2_usize..70,
        records in 0_u64..70,
    ) {
        let entry = if mode == TraceMode::Pc { 1 } else { 4 };
        let mut area: Vec<u64> = (0..words as u64).map(|at| 1000 + at).collect();
        area[0] = header;
        let mut buffer: Vec<u64> = (0..buffer_words as u64).map(|at| 2000 + at).collect();
        buffer[0] = records.min((buffer_words as u64 - 1) / entry);
        let expected = kernel(mode, &area, &buffer);
        let (found, merged) = merge(mode, &area, &buffer);
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(merged.stored, expected[0].wrapping_sub(header));
        prop_assert_eq!(merged.stored + merged.lost, buffer[0]);
    }
}

#[test]
fn the_words_behind_the_last_comparison_get_the_beginning_of_the_next() {
    let buffer: Vec<u64> = [3].into_iter().chain(10..22).collect();
    let (area, merged) = merge(TraceMode::Cmp, &[1, 0, 0, 0, 0, 0, 0, 0], &buffer);
    assert_eq!(area, [1, 0, 0, 0, 0, 10, 11, 12]);
    assert_eq!(merged, Merged { stored: 0, lost: 3 });
}
