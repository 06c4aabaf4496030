//! A message whose length prefix exceeds its data is refused without allocating that length. This is the only
//! test of its program, because it measures the allocations of the whole process.
#![cfg(not(loom))]

use kcov_proto::message::{MAX_BYTES, ReaderReply, Reply, Request, decode};
use peak_alloc::PeakAlloc;
use serde::de::DeserializeOwned;

/// Most bytes that serde reserves for a sequence before it has decoded an element (`size_hint::cautious`).
/// The pages are not touched, and are freed with the error.
const SET_ASIDE: usize = 1 << 20;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// bincode's marker of an eight-byte integer, followed by the integer.
fn announced(length: u64) -> Vec<u8> {
    [&[253][..], &length.to_le_bytes()].concat()
}

/// Peak allocation in bytes while `bytes` are refused.
fn cost_of_refusing<T: DeserializeOwned>(bytes: &[u8]) -> usize {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    assert!(decode::<T>(bytes).is_err());
    ALLOCATOR.peak_usage().saturating_sub(before)
}

#[test]
fn a_length_prefix_alone_allocates_little() {
    // A worker's `Ioctl` request with a remote argument, up to its handles: id, tid, kind 6, fd, request,
    // arg, Some, Ok, mode, size, common handle.
    let handles = [1, 1, 6, 0, 0, 0, 1, 0, 0, 0, 0];
    // A reply up to its drops: id, verdict 2, then None three times.
    let drops = [1, 2, 0, 0, 0];
    let memory = [0];
    let lengths = [1 << 60, u64::MAX, u64::MAX / 8, 1 << 32, 1 << 20, MAX_BYTES as u64 + 1, MAX_BYTES as u64];
    for length in lengths {
        let bomb = |head: &[u8]| [head, &announced(length)].concat();
        for cost in [
            cost_of_refusing::<Request>(&bomb(&handles)),
            cost_of_refusing::<Reply>(&bomb(&drops)),
            cost_of_refusing::<ReaderReply>(&bomb(&memory)),
        ] {
            assert!(cost <= SET_ASIDE, "{cost} bytes allocated for a length prefix of {length:#x}");
        }
    }
}
