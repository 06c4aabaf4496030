//! Private buffers of remote sections.

use kcov_proto::sync::AtomicU64;
use std::alloc::{Layout, alloc_zeroed};
use std::ptr;

/// Allocates zeroed words without touching them. Returns `None` for 0 words, or if there is no memory.
#[must_use]
pub fn zeroed(words: usize) -> Option<Box<[AtomicU64]>> {
    let layout = Layout::array::<AtomicU64>(words).ok().filter(|layout| layout.size() > 0)?;
    // SAFETY: the size is not 0.
    let start = unsafe { alloc_zeroed(layout) }.cast::<AtomicU64>();
    // SAFETY: the allocator returned memory of the layout of this slice, and zero is a valid value.
    (!start.is_null()).then(|| unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(start, words)) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::sync::Ordering;

    #[test]
    fn words_are_zero_and_an_impossible_size_is_refused() {
        let words = zeroed(1000).unwrap();
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
        assert!(zeroed(0).is_none());
        assert!(zeroed(usize::MAX / 16).is_none());
    }
}
