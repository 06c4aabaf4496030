//! Loom model of a coverage map: workers mark the same map concurrently, and no mark is lost.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test cover_map_loom`
#![cfg(loom)]

use kcov_proto::cover_map::CoverMap;
use kcov_proto::site::TEXT_START;
use kcov_proto::sync::AtomicU8;
use loom::sync::Arc;
use loom::thread;

#[test]
fn no_mark_is_lost() {
    loom::model(|| {
        let bytes: Arc<[AtomicU8; 4]> = Arc::new(std::array::from_fn(|_| AtomicU8::new(0)));
        // Both mark the same PC as well.
        let workers = [[0, 8], [8, 24]].map(|offsets| {
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || {
                let map = CoverMap::new(&bytes);
                for offset in offsets {
                    map.mark(TEXT_START + offset);
                    assert!(map.is_marked(TEXT_START + offset));
                }
            })
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        let map = CoverMap::new(&bytes);
        assert_eq!([0, 8, 16, 24].map(|at| map.is_marked(TEXT_START + at)), [true, true, false, true]);
    });
}
