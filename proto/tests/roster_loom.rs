//! Loom model of a roster: one writer, and a worker that looks threads up. Loom tries every interleaving and
//! every reordering that the memory model permits. The table has four entries here, and can list three
//! threads.
//!
//! A look-up that met a change at each try returns "not listed", which is not a valid answer then. The caller
//! cannot tell, except by the sequence word: so [`look`] accepts "not listed" only if that word did not
//! change. A look-up that fails to notice a change is caught by its result: each entry of these tests has one
//! number in all its words, so that no mixture of two entries equals a third.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test roster_loom`
#![cfg(loom)]

use kcov_proto::abi::TraceMode;
use kcov_proto::device::{ArenaId, Armed, Tid};
use kcov_proto::roster::{OWNERS, Roster, RosterEntry, RosterWriter, SEQUENCE, WORDS};
use kcov_proto::sync::{AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;

/// Two threads whose search starts at the same entry, 1, and one whose search starts at the next.
const FIRST: Tid = 1;
const SECOND: Tid = 5;
const BEHIND: Tid = 2;

type Words = Arc<[AtomicU64]>;

fn entry(number: u32) -> RosterEntry {
    let arena = ArenaId { index: number, generation: number };
    RosterEntry {
        armed: Some(Armed {
            arena,
            mode: TraceMode::Cmp,
            words: u64::from(number),
            bitmap: u64::from(number),
            shared: true,
        }),
        settle: false,
    }
}

/// The entry of `tid`, or `None` if the look-up may have given up.
fn look(words: &Words, tid: Tid) -> Option<RosterEntry> {
    let before = words[SEQUENCE].load(Ordering::Relaxed);
    let found = Roster::new(words).unwrap().find(tid);
    // Loads of one word never go backwards: if it is the same now, it did not change during the look-up.
    let stood = before % 2 == 0 && words[SEQUENCE].load(Ordering::Relaxed) == before;
    (stood || found != RosterEntry::default()).then_some(found)
}

/// Starts with a table that lists `present`, runs `write` and `read` concurrently, then checks for the
/// entries in `after`.
fn concurrently(
    present: &'static [(Tid, u32)],
    write: fn(&mut RosterWriter<Words>),
    read: fn(&Words),
    after: &'static [(Tid, Option<u32>)],
) {
    let mut model = loom::model::Builder::new();
    // Bounds the number of forced thread switches; each of two threads that disturb each other needs one.
    model.preemption_bound = Some(if std::env::var_os("KCOV_LONG").is_some() { 3 } else { 2 });
    model.check(move || {
        let words: Words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let mut writer = RosterWriter::new(Arc::clone(&words)).unwrap();
        for &(tid, number) in present {
            writer.set(tid, entry(number)).unwrap();
        }
        let shared = Arc::clone(&words);
        let reader = thread::spawn(move || read(&shared));
        let writer = thread::spawn(move || write(&mut writer));
        reader.join().unwrap();
        writer.join().unwrap();
        let roster = Roster::new(&words).unwrap();
        for &(tid, number) in after {
            assert_eq!(roster.find(tid), number.map(entry).unwrap_or_default());
        }
    });
}

fn unlisted() -> RosterEntry {
    RosterEntry::default()
}

/// The entry of one thread is replaced: a reader gets the old or the new one, whole.
#[test]
fn an_entry_is_never_torn() {
    concurrently(
        &[(FIRST, 7)],
        |writer| writer.set(FIRST, entry(8)).unwrap(),
        |words| assert!([None, Some(entry(7)), Some(entry(8))].contains(&look(words, FIRST))),
        &[(FIRST, Some(8)), (SECOND, None)],
    );
}

/// Removes the thread at the place where the search for another starts, which moves the other one back. The
/// other one is always found, and never with the entry of the removed thread.
#[test]
fn moving_an_entry_hides_no_thread() {
    concurrently(
        &[(FIRST, 7), (SECOND, 9), (BEHIND, 11)],
        |writer| writer.set(FIRST, unlisted()).unwrap(),
        |words| assert!([None, Some(entry(9))].contains(&look(words, SECOND))),
        &[(FIRST, None), (SECOND, Some(9)), (BEHIND, Some(11))],
    );
}

/// A thread that is removed has its own entry until it has none.
#[test]
fn a_removed_thread_never_has_the_entry_of_another() {
    concurrently(
        &[(FIRST, 7), (SECOND, 9)],
        |writer| writer.set(FIRST, unlisted()).unwrap(),
        |words| assert!([None, Some(entry(7)), Some(unlisted())].contains(&look(words, FIRST))),
        &[(FIRST, None), (SECOND, Some(9))],
    );
}

/// A thread gets the table entry of another one that was just removed.
#[test]
fn a_reused_entry_never_shows_its_former_thread() {
    concurrently(
        &[(FIRST, 7)],
        |writer| {
            writer.set(FIRST, unlisted()).unwrap();
            writer.set(SECOND, entry(9)).unwrap();
        },
        |words| {
            assert!([None, Some(entry(7)), Some(unlisted())].contains(&look(words, FIRST)));
            assert!([None, Some(entry(9)), Some(unlisted())].contains(&look(words, SECOND)));
        },
        &[(FIRST, None), (SECOND, Some(9))],
    );
}

/// An entry that was set before a word that the reader has seen (the reply to ENABLE, sent before the next
/// call) is found.
#[test]
fn an_entry_set_before_a_reply_is_found() {
    concurrently(
        &[(FIRST, 7)],
        |writer| {
            writer.set(SECOND, entry(9)).unwrap();
            writer.count(1, 2);
        },
        |words| {
            let roster = Roster::new(words).unwrap();
            if words[OWNERS].load(Ordering::Acquire) == 2 {
                assert_eq!(roster.find(SECOND), entry(9));
                assert!(roster.has_instances());
            }
        },
        &[(FIRST, Some(7)), (SECOND, Some(9))],
    );
}
