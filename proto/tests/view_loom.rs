//! Loom model of the seqlock: one writer of a body and a reader that copies it. Loom tries every interleaving
//! and every reordering that the memory model permits.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test view_loom`
#![cfg(loom)]

use kcov_proto::sync::AtomicU64;
use kcov_proto::view::seqlock;
use loom::thread;
use std::sync::Arc;

/// The sequence word, and a body of two words.
const WORDS: usize = 3;

type Words = Arc<[AtomicU64]>;

fn write(words: &Words, value: u64) {
    seqlock::write(&words[0], &words[1..], [value, value]);
}

/// A copy of the body, if it is reported as consistent.
fn read(words: &Words) -> Option<[u64; 2]> {
    let mut body = [0; 2];
    let whole = seqlock::read(&mut &words[..], 0, 1, &mut body);
    whole.unwrap().then_some(body)
}

/// A copy is consistent whatever the writer does, and a later copy is never older.
#[test]
fn a_copy_is_never_torn() {
    let mut model = loom::model::Builder::new();
    // Bounds the number of forced thread switches; each of two threads that disturb each other needs one.
    model.preemption_bound = Some(if std::env::var_os("KCOV_LONG").is_some() { 3 } else { 2 });
    model.check(|| {
        let words: Words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::clone(&words);
        let reader = thread::spawn(move || {
            let mut last = 0;
            for copy in [read(&shared), read(&shared)].into_iter().flatten() {
                assert_eq!(copy[0], copy[1]);
                assert!(copy[0] >= last);
                last = copy[0];
            }
        });
        let shared = Arc::clone(&words);
        let writer = thread::spawn(move || (1..=2).for_each(|value| write(&shared, value)));
        reader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(read(&words), Some([2, 2]));
    });
}

/// A body that a dead writer left half-written is never accepted; the next write repairs it.
#[test]
fn a_half_written_body_is_refused() {
    loom::model(|| {
        let words: Words = [1, 5, 0].into_iter().map(AtomicU64::new).collect();
        assert_eq!(read(&words), None);
        write(&words, 7);
        assert_eq!(read(&words), Some([7, 7]));
    });
}
