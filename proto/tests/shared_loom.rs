//! Loom models of areas with several writers. Loom tries every interleaving and every reordering that the
//! memory model permits.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test shared_loom`
#![cfg(loom)]

use kcov_proto::abi::TraceMode;
use kcov_proto::area::{Appended, Area, CmpKind, CmpRecord, CmpSize};
use kcov_proto::device::{ArenaId, Armed, Tid};
use kcov_proto::roster::{Roster, RosterEntry, RosterWriter, WORDS};
use kcov_proto::sync::AtomicU64;
use loom::sync::Arc;
use loom::thread;

type Words = Arc<Vec<AtomicU64>>;

fn words(number: usize) -> Words {
    Arc::new((0..number).map(|_| AtomicU64::new(0)).collect())
}

fn area(words: &Words) -> Area<'_> {
    Area::new(words).unwrap()
}

/// Appends PCs, and returns how many were stored.
fn append(words: &Words, pcs: &[u64]) -> usize {
    pcs.iter().filter(|pc| area(words).append_pc_shared(**pc) == Appended::Stored).count()
}

/// A model with a bound on the number of forced thread switches, for tests with many steps.
fn bounded() -> loom::model::Builder {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(if std::env::var_os("KCOV_LONG").is_some() { 3 } else { 2 });
    model
}

/// Two writers fill an area: each record is there once, and the count does not exceed the capacity.
#[test]
fn two_writers_lose_nothing_to_each_other() {
    loom::model(|| {
        let shared = words(4);
        let writers = [[1, 2], [3, 4]].map(|pcs| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || append(&shared, &pcs))
        });
        let stored: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        let mut pcs = area(&shared).pcs();
        pcs.sort_unstable();
        pcs.dedup();
        assert_eq!((stored, area(&shared).count(), pcs.len()), (3, 3, 3));
        assert!(pcs.iter().all(|pc| (1..=4).contains(pc)));
    });
}

/// A client resets the count meanwhile: the count never exceeds the capacity, and a reset is never undone.
#[test]
fn two_writers_and_a_reset_stay_within_the_area() {
    bounded().check(|| {
        let shared = words(3);
        let writers = [&[1, 2][..], &[3][..]].map(|pcs| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || append(&shared, pcs))
        });
        // In a thread of its own, as in `area_loom`.
        let client = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || area(&shared).reset())
        };
        let stored: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        client.join().unwrap();
        let count = area(&shared).count();
        assert!(count <= 2, "the capacity is 2, the count {count}");
        // Each stored record is covered by the count, or was before the reset.
        assert!(stored as u64 <= count + 2, "{stored} stored, {count} left");
        assert!(area(&shared).pcs().iter().all(|pc| *pc <= 3));
    });
}

/// Comparisons are stored whole.
#[test]
fn two_writers_of_comparisons_keep_them_whole() {
    let comparison = |n: u64| CmpRecord {
        kind: CmpKind { size: CmpSize::Eight, constant: true },
        arg1: n,
        arg2: n + 100,
        pc: n + 200,
    };
    loom::model(move || {
        let shared = words(9);
        let writers = [1, 2].map(|n| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || area(&shared).append_cmp_shared(comparison(n)))
        });
        assert!(writers.map(|writer| writer.join().unwrap()).into_iter().all(|it| it == Appended::Stored));
        let found: Vec<_> = area(&shared).cmps().into_iter().map(CmpRecord::from_words).collect();
        let expected = [1, 2].map(|n| Some(comparison(n)));
        assert!(found == expected || found == [expected[1], expected[0]], "{found:?}");
    });
}

/// An instance is disabled and released, and its index is used again: a writer that looks itself up meanwhile
/// appends to the area of the instance that it found, never to that of the next one.
#[test]
fn a_writer_never_reaches_the_area_of_the_next_instance() {
    const OLD: Tid = 1;
    const NEW: Tid = 5;
    let entry = |generation| {
        let arena = ArenaId { index: 0, generation };
        let armed = Armed { arena, mode: TraceMode::Pc, words: 3, bitmap: 0, shared: true };
        RosterEntry { armed: Some(armed), settle: false }
    };
    bounded().check(move || {
        let table: std::sync::Arc<[AtomicU64]> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let areas = [words(3), words(3)];
        let mut broker = RosterWriter::new(std::sync::Arc::clone(&table)).unwrap();
        broker.set(OLD, entry(0)).unwrap();
        let worker = {
            let (table, areas) = (std::sync::Arc::clone(&table), areas.clone());
            thread::spawn(move || {
                let found = Roster::new(&table).unwrap().find(OLD).armed;
                found.map(|armed| append(&areas[armed.arena.generation as usize], &[7]))
            })
        };
        broker.set(OLD, RosterEntry::default()).unwrap();
        broker.set(NEW, entry(1)).unwrap();
        let appended = worker.join().unwrap();
        assert_eq!(area(&areas[1]).count(), 0);
        assert_eq!(area(&areas[0]).count(), appended.unwrap_or(0) as u64);
    });
}
