//! Loom model of a token bucket: concurrent takers get all its tokens, and no more.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test bucket_loom`
#![cfg(loom)]

use kcov_proto::sync::AtomicU64;
use kcov_proto::token_bucket::Rate;
use loom::sync::Arc;
use loom::thread;

const NOW: u64 = 5_000_000_000;

#[test]
fn concurrent_takers_get_exactly_the_tokens() {
    loom::model(|| {
        let word = Arc::new(AtomicU64::new(0));
        let threads = [(); 2].map(|()| {
            let word = Arc::clone(&word);
            thread::spawn(move || (0..2).filter(|_| Rate(3).take(&word, 1, NOW)).count())
        });
        let taken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(taken, 3);
    });
}
