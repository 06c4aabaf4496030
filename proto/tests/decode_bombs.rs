//! A message that announces more than it has is refused, at a cost that what it announces has no part in. A program of
//! one test, as it counts what the whole program allocates.
#![cfg(not(loom))]

use kcov_proto::message::{Assist, AssistReply, MAX_BYTES, ReaderReply, decode};
use peak_alloc::PeakAlloc;
use serde::de::DeserializeOwned;

/// What serde sets aside at most for a sequence before it has seen an element of it (`size_hint::cautious`), bytes. The
/// pages are not touched, and given back with the refusal.
const SET_ASIDE: usize = 1 << 20;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// bincode's marker of an eight-byte integer, and the integer.
fn announced(length: u64) -> Vec<u8> {
    [&[253][..], &length.to_le_bytes()].concat()
}

/// Bytes at most allocated at a time while `bytes` are refused.
fn cost_of_refusing<T: DeserializeOwned>(bytes: &[u8]) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    assert!(decode::<T>(bytes).is_err());
    ALLOCATOR.peak_usage().saturating_sub(before)
}

#[test]
fn an_announced_length_costs_what_any_does() {
    // An ioctl with a remote argument, up to its handles: id, tid, kind 6, fd, request, arg, Some, Ok, mode, size,
    // common handle.
    let handles = [1, 1, 6, 0, 0, 0, 1, 0, 0, 0, 0];
    // A reply up to its drops: id, verdict 2, three times None.
    let drops = [1, 2, 0, 0, 0];
    let memory = [0];
    let lengths = [1 << 60, u64::MAX, u64::MAX / 8, 1 << 32, 1 << 20, MAX_BYTES as u64 + 1, MAX_BYTES as u64];
    for length in lengths {
        let bomb = |head: &[u8]| [head, &announced(length)].concat();
        for cost in [
            cost_of_refusing::<Assist>(&bomb(&handles)),
            cost_of_refusing::<AssistReply>(&bomb(&drops)),
            cost_of_refusing::<ReaderReply>(&bomb(&memory)),
        ] {
            assert!(cost <= SET_ASIDE, "{cost} bytes for an announced {length:#x}");
        }
    }
}
