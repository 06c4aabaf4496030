//! Loom models of a remote section that stops: beside a client, and beside a `DISABLE`, after which nothing
//! is appended.
//!
//! That a reset is not undone follows from the compare-and-swap, and is not tested here: loom lets a
//! read-modify-write succeed on a value that a store of another thread has replaced.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p kcov-proto --release --test merge_loom`
#![cfg(loom)]

use kcov_proto::abi::TraceMode;
use kcov_proto::area::Area;
use kcov_proto::sync::{AtomicU64, Ordering};
use loom::sync::{Arc, mpsc};
use loom::thread;

fn words(values: &[u64]) -> Arc<Vec<AtomicU64>> {
    Arc::new(values.iter().map(|&value| AtomicU64::new(value)).collect())
}

fn merge(area: &[AtomicU64], buffer: &[u64]) -> u64 {
    let buffer = words(buffer);
    Area::new(area).unwrap().merge(&Area::new(&buffer).unwrap(), TraceMode::Pc).stored
}

#[test]
fn a_count_covers_only_merged_records() {
    loom::model(|| {
        let area = words(&[0; 4]);
        let writer = {
            let area = Arc::clone(&area);
            thread::spawn(move || merge(&area, &[2, 7, 8]))
        };
        let client = thread::spawn(move || {
            let seen = Area::new(&area).unwrap().pcs();
            assert!(seen.is_empty() || seen == [7, 8], "{seen:?}");
        });
        writer.join().unwrap();
        client.join().unwrap();
    });
}

/// The broker grants the merge and waits for its end before it serves the `DISABLE`, so a client that has
/// disabled its instance sees no further record.
#[test]
fn nothing_is_appended_after_disable() {
    loom::model(|| {
        let area = words(&[0; 3]);
        let (to_broker, requests) = mpsc::channel();
        let (to_worker, replies) = mpsc::channel();
        let worker = {
            let area = Arc::clone(&area);
            let to_broker = to_broker.clone();
            thread::spawn(move || {
                to_broker.send(Message::Stop).unwrap();
                if replies.recv().unwrap() {
                    merge(&area, &[1, 7]);
                    to_broker.send(Message::Done).unwrap();
                }
            })
        };
        let client = thread::spawn(move || to_broker.send(Message::Disable).unwrap());
        // The broker, which is the only one that knows the sequence.
        let mut is_enabled = true;
        let mut at_disable = 0;
        let mut held_back = false;
        for _ in 0..2 {
            let message =
                if std::mem::take(&mut held_back) { Message::Disable } else { requests.recv().unwrap() };
            match message {
                Message::Disable => {
                    is_enabled = false;
                    at_disable = area[0].load(Ordering::Acquire);
                }
                Message::Stop => {
                    to_worker.send(is_enabled).unwrap();
                    // The worker has a socket of its own; here one queue stands for both.
                    while is_enabled {
                        match requests.recv().unwrap() {
                            Message::Done => break,
                            Message::Disable => held_back = true,
                            Message::Stop => unreachable!("there is one section"),
                        }
                    }
                }
                Message::Done => unreachable!("taken with its request"),
            }
        }
        worker.join().unwrap();
        client.join().unwrap();
        assert!(!is_enabled);
        assert_eq!(area[0].load(Ordering::Acquire), at_disable);
    });
}

enum Message {
    Stop,
    Done,
    Disable,
}
