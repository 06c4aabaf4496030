//! One writer, and a client that reads and resets, under every interleaving and every reordering that the memory
//! model permits.
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

/// Runs `write` in a thread of its own and `client` beside it, over an area of `number` words.
fn beside(number: usize, write: fn(Area<'_>), client: fn(Area<'_>)) {
    loom::model(move || {
        let shared = words(number);
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || write(Area::new(&shared).unwrap()))
        };
        client(Area::new(&shared).unwrap());
        writer.join().unwrap();
    });
}

#[test]
fn a_count_covers_written_pcs_only() {
    beside(
        4,
        |area| (1..=2).for_each(|pc| assert_eq!(area.append_pc(pc), Appended::Stored)),
        |area| {
            let seen = area.pcs();
            assert!(seen.iter().zip(1..).all(|(pc, expected)| *pc == expected), "{seen:?}");
        },
    );
}

#[test]
fn a_reset_at_any_time_uncovers_nothing() {
    beside(
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
fn what_is_read_before_the_reset_is_of_the_old_trace() {
    loom::model(|| {
        let shared = words(2);
        assert_eq!(Area::new(&shared).unwrap().append_pc(1), Appended::Stored);
        let writer = {
            let shared = Arc::clone(&shared);
            // Full until the client resets.
            thread::spawn(move || Area::new(&shared).unwrap().append_pc(2))
        };
        let area = Area::new(&shared).unwrap();
        assert_eq!(area.pcs(), [1]);
        area.reset();
        let appended = writer.join().unwrap();
        assert_eq!(area.pcs().len(), usize::from(appended == Appended::Stored));
    });
}

#[test]
fn a_count_covers_whole_comparisons_only() {
    beside(
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
fn a_count_from_the_client_leads_nowhere_else() {
    beside(
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
