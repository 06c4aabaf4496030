//! Functions that the recording benchmark measures: the kernel's append in C (`csrc/append_limit.c`), which
//! is the limit, and the callbacks of instrumented code.

use super::sancov::{__sanitizer_cov_trace_pc, __sanitizer_cov_trace_pc_guard};
use kcov_proto::sync::AtomicU64;
use std::sync::atomic::AtomicU32;

unsafe extern "C" {
    fn kcov_limit_append_pcs(area: *mut u64, words: u64, records: u64, pc: u64);
    fn kcov_limit_append_pcs_shared(area: *mut u64, words: u64, records: u64, pc: u64);
    fn kcov_limit_append_cmps(area: *mut u64, words: u64, records: u64, pc: u64);
    safe fn kcov_limit_empty(pc: u64);
}

/// Appends `records` PCs, from `pc` upward, as the kernel does.
pub fn append_pcs(words: &[AtomicU64], records: u64, pc: u64) {
    // SAFETY: the pointer points to the number of words that is passed, which may be stored to through a
    // shared reference, and the function stays within them. Nothing else uses the words: the benchmark has
    // one thread and its own area.
    unsafe { kcov_limit_append_pcs(pointer(words), words.len() as u64, records, pc) }
}

/// Appends `records` PCs, from `pc` upward, by compare-and-swap.
pub fn append_pcs_shared(words: &[AtomicU64], records: u64, pc: u64) {
    // SAFETY: as in `append_pcs`, but other threads use the words. The count is accessed by atomic operations,
    // and a word behind it only by the thread that has reserved it.
    unsafe { kcov_limit_append_pcs_shared(pointer(words), words.len() as u64, records, pc) }
}

/// Appends `records` comparisons with `pc`, as the kernel does.
pub fn append_cmps(words: &[AtomicU64], records: u64, pc: u64) {
    // SAFETY: as in `append_pcs`.
    unsafe { kcov_limit_append_cmps(pointer(words), words.len() as u64, records, pc) }
}

/// Calls an empty function that the compiler cannot inline.
#[inline(always)]
pub fn empty(pc: u64) {
    kcov_limit_empty(pc);
}

/// Calls the callback of code that gcc has instrumented.
#[inline(always)]
pub fn trace_pc() {
    // SAFETY: it has no arguments.
    unsafe { __sanitizer_cov_trace_pc() }
}

/// Calls the callback of code that clang or rustc has instrumented.
#[inline(always)]
pub fn trace_pc_guard(guard: &AtomicU32) {
    // SAFETY: a reference is a valid pointer.
    unsafe { __sanitizer_cov_trace_pc_guard(guard) }
}

fn pointer(words: &[AtomicU64]) -> *mut u64 {
    words.as_ptr().cast::<u64>().cast_mut()
}
