//! Workers that mark the same word at the same time, under every interleaving: no mark is lost.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test cover_map_loom`
#![cfg(loom)]

use kcov_proto::cover_map::CoverMap;
use kcov_proto::site::TEXT_START;
use kcov_proto::sync::AtomicU64;
use loom::sync::Arc;
use loom::thread;

#[test]
fn no_mark_is_lost() {
    loom::model(|| {
        let words = Arc::new([AtomicU64::new(0)]);
        // One of them in common.
        let workers = [[0, 8], [8, 504]].map(|offsets| {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                let map = CoverMap::new(&*words);
                for offset in offsets {
                    map.mark(TEXT_START + offset);
                    assert!(map.is_marked(TEXT_START + offset));
                }
            })
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let map = CoverMap::new(&*words);
        let marked: Vec<u64> =
            (0..64).map(|bit| bit * 8).filter(|at| map.is_marked(TEXT_START + at)).collect();
        assert_eq!(marked, [0, 8, 504]);
    });
}
