//! One writer of a roster and a worker that looks threads up, under every interleaving and every reordering that the
//! memory model permits. The table has four entries here, and room for three threads.
//!
//! A look-up that met a change at each of its tries says that the thread is not listed, which is then no answer. It
//! cannot be told from one outside, except that the sequence word moved: [`look`] therefore takes "not listed" for an
//! answer only if that word stood still. A look-up that failed to notice a change would be caught by what it finds:
//! each line of these tests has one number in all its words, so that no two of them make a third.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test roster_loom`
#![cfg(loom)]

use kcov_proto::abi::TraceMode;
use kcov_proto::device::{ArenaId, Armed, Tid};
use kcov_proto::roster::{Line, OWNERS, Roster, RosterWriter, SEQUENCE, WORDS};
use kcov_proto::sync::{AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;

/// Threads whose search starts at the same entry, 1, and one at the entry behind.
const FIRST: Tid = 1;
const SECOND: Tid = 5;
const BEHIND: Tid = 2;

type Words = Arc<[AtomicU64]>;

fn line(number: u32) -> Line {
    let arena = ArenaId { index: number, generation: number };
    Line { armed: Some(Armed { arena, mode: TraceMode::Cmp, words: u64::from(number) }), settle: false }
}

/// What the table says of `tid`, or `None` if it may have given up.
fn look(words: &Words, tid: Tid) -> Option<Line> {
    let before = words[SEQUENCE].load(Ordering::Relaxed);
    let found = Roster::new(words).unwrap().find(tid);
    // One word never goes back: if it is the same now, the look-up saw it so all the time.
    let stood = before % 2 == 0 && words[SEQUENCE].load(Ordering::Relaxed) == before;
    (stood || found != Line::default()).then_some(found)
}

/// A table that lists `present`, `write` and `read` side by side over it, and what `after` finds when both are over.
fn beside(
    present: &'static [(Tid, u32)],
    write: fn(&mut RosterWriter<Words>),
    read: fn(&Words),
    after: &'static [(Tid, Option<u32>)],
) {
    let mut model = loom::model::Builder::new();
    // Every schedule of up to so many forced switches; each of two sides that disturb each other needs one.
    model.preemption_bound = Some(if std::env::var_os("KCOV_LONG").is_some() { 3 } else { 2 });
    model.check(move || {
        let words: Words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let mut writer = RosterWriter::new(Arc::clone(&words)).unwrap();
        for &(tid, number) in present {
            writer.set(tid, line(number)).unwrap();
        }
        let shared = Arc::clone(&words);
        let reader = thread::spawn(move || read(&shared));
        let writer = thread::spawn(move || write(&mut writer));
        reader.join().unwrap();
        writer.join().unwrap();
        let roster = Roster::new(&words).unwrap();
        for &(tid, number) in after {
            assert_eq!(roster.find(tid), number.map(line).unwrap_or_default());
        }
    });
}

fn none() -> Line {
    Line::default()
}

/// The line of one thread is replaced: a reader has the old or the new one, whole.
#[test]
fn a_line_is_never_torn() {
    beside(
        &[(FIRST, 7)],
        |writer| writer.set(FIRST, line(8)).unwrap(),
        |words| assert!([None, Some(line(7)), Some(line(8))].contains(&look(words, FIRST))),
        &[(FIRST, Some(8)), (SECOND, None)],
    );
}

/// The thread at the place where the search for another one starts is removed, and that other one moved back: it is
/// found all the time, and never with the removed one's line.
#[test]
fn a_shift_hides_nobody() {
    beside(
        &[(FIRST, 7), (SECOND, 9), (BEHIND, 11)],
        |writer| writer.set(FIRST, none()).unwrap(),
        |words| assert!([None, Some(line(9))].contains(&look(words, SECOND))),
        &[(FIRST, None), (SECOND, Some(9)), (BEHIND, Some(11))],
    );
}

/// The removed one has its own line until it has none.
#[test]
fn who_is_removed_gets_no_other_line() {
    beside(
        &[(FIRST, 7), (SECOND, 9)],
        |writer| writer.set(FIRST, none()).unwrap(),
        |words| assert!([None, Some(line(7)), Some(none())].contains(&look(words, FIRST))),
        &[(FIRST, None), (SECOND, Some(9))],
    );
}

/// A thread takes the entry of another one that was just removed.
#[test]
fn an_entry_that_changes_hands_has_no_foreign_line() {
    beside(
        &[(FIRST, 7)],
        |writer| {
            writer.set(FIRST, none()).unwrap();
            writer.set(SECOND, line(9)).unwrap();
        },
        |words| {
            assert!([None, Some(line(7)), Some(none())].contains(&look(words, FIRST)));
            assert!([None, Some(line(9)), Some(none())].contains(&look(words, SECOND)));
        },
        &[(FIRST, None), (SECOND, Some(9))],
    );
}

/// What was set before the word that a reader has seen (the answer to ENABLE, before the next call) is there.
#[test]
fn what_was_answered_is_listed() {
    beside(
        &[(FIRST, 7)],
        |writer| {
            writer.set(SECOND, line(9)).unwrap();
            writer.count(1, 2);
        },
        |words| {
            let roster = Roster::new(words).unwrap();
            if words[OWNERS].load(Ordering::Acquire) == 2 {
                assert_eq!(roster.find(SECOND), line(9));
                assert!(roster.has_instances());
            }
        },
        &[(FIRST, Some(7)), (SECOND, Some(9))],
    );
}
