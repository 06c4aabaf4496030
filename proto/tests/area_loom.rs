//! Loom model of an area: one writer, and a client that reads and resets. Loom tries every interleaving and
//! every reordering that the memory model permits.
//!
//! Loom does not move a load behind a later store, so this does not test the Acquire load of the count, which
//! forbids exactly that.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test area_loom`
#![cfg(loom)]

use kcov_proto::area::{Appended, Area, CmpKind, CmpRecord, CmpSize};
use kcov_proto::sync::AtomicU64;
use loom::sync::Arc;
use loom::thread;

fn words(number: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..number).map(|_| AtomicU64::new(0)).collect())
}

fn comparison(n: u64) -> CmpRecord {
    CmpRecord { kind: CmpKind { size: CmpSize::Eight, constant: true }, arg1: n, arg2: n + 100, pc: n + 200 }
}

/// Runs `write` and `client` concurrently on an area of `number` words. Both have a thread of their own: loom
/// keeps only the last access to an atomic, and would not run a new thread before a load in the thread that
/// started it.
fn concurrently(number: usize, write: fn(Area<'_>), client: fn(Area<'_>)) {
    loom::model(move || {
        let shared = words(number);
        let threads = [write, client].map(|run| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || run(Area::new(&shared).unwrap()))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_count_covers_only_written_pcs() {
    concurrently(
        4,
        |area| (1..=2).for_each(|pc| assert_eq!(area.append_pc(pc), Appended::Stored)),
        |area| {
            let seen = area.pcs();
            assert!(seen.iter().zip(1..).all(|(pc, expected)| *pc == expected), "{seen:?}");
        },
    );
}

#[test]
fn a_reset_never_exposes_unwritten_records() {
    concurrently(
        3,
        |area| (1..=3).for_each(|pc| _ = area.append_pc(pc)),
        |area| {
            area.reset();
            let seen = area.pcs();
            assert!(seen.iter().all(|pc| *pc != 0), "{seen:?}");
        },
    );
}

#[test]
fn a_count_covers_only_complete_comparisons() {
    concurrently(
        10,
        |area| (1..=3).for_each(|n| _ = area.append_cmp(comparison(n))),
        |area| {
            for (words, n) in area.cmps().into_iter().zip(1..) {
                assert_eq!(CmpRecord::from_words(words), Some(comparison(n)));
            }
        },
    );
}

#[test]
fn a_concurrent_reset_stays_within_the_area() {
    concurrently(
        6,
        |area| {
            _ = area.append_cmp(comparison(1));
            _ = area.append_pc(7);
        },
        |area| {
            area.reset();
            assert!(area.pcs().len() <= 5 && area.cmps().len() <= 1);
        },
    );
}
