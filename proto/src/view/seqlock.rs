//! A body of words that one side replaces and others copy, whole or not at all.
//!
//! The sequence word is odd while the writer is at work. A reader that sees it odd, or changed, copies again; one whose
//! writer died half-way gives up. The fences make a seqlock of it (Boehm, "Can seqlocks get along with programming
//! language memory models?").

use crate::sync::{AtomicU64, Ordering, fence};

/// Copies of a reader that keeps meeting a change: the writer changes a body in a microsecond, a hundred times a second
/// at most.
#[cfg(not(loom))]
pub const PATIENCE: usize = 64;
/// Copies of a reader that keeps meeting a change.
#[cfg(loom)]
pub const PATIENCE: usize = 2;

/// Where a reader copies from: a mapping, or a file by `pread(2)`.
pub trait Source {
    /// Why it cannot.
    type Error;

    /// Copies the words from `at` on, each by at least a relaxed load.
    ///
    /// # Errors
    /// If there are none.
    fn read(&mut self, at: usize, words: &mut [u64]) -> Result<(), Self::Error>;
}

impl Source for &[AtomicU64] {
    type Error = std::convert::Infallible;

    /// Words past the end are left as they are.
    fn read(&mut self, at: usize, words: &mut [u64]) -> Result<(), Self::Error> {
        for (word, shared) in words.iter_mut().zip(self.iter().skip(at)) {
            *word = shared.load(Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Replaces the first words of `body` by `values`. There is one writer.
pub fn write(sequence: &AtomicU64, body: &[AtomicU64], values: impl IntoIterator<Item = u64>) {
    // Relaxed: nobody else writes it. Even again after a writer that died half-way.
    let before = sequence.load(Ordering::Relaxed) & !1;
    sequence.store(before.wrapping_add(1), Ordering::Relaxed);
    // Partner of the Acquire fence after the copy in `read`: who copied a new word sees that the sequence moved.
    fence(Ordering::Release);
    for (word, value) in body.iter().zip(values) {
        word.store(value, Ordering::Relaxed);
    }
    // Release: partner of the first Acquire fence in `read`.
    sequence.store(before.wrapping_add(2), Ordering::Release);
}

/// Copies the words from `at` on. Says whether they are of one time.
///
/// # Errors
/// Those of the source.
pub fn read<S: Source>(
    source: &mut S,
    sequence: usize,
    at: usize,
    body: &mut [u64],
) -> Result<bool, S::Error> {
    for _ in 0..PATIENCE {
        let (mut before, mut after) = ([0], [0]);
        source.read(sequence, &mut before)?;
        // Partner of the Release store at the end of `write`.
        fence(Ordering::Acquire);
        if before[0].is_multiple_of(2) {
            source.read(at, body)?;
            // Partner of the Release fence in `write`.
            fence(Ordering::Acquire);
            source.read(sequence, &mut after)?;
            if before == after {
                return Ok(true);
            }
        }
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(not(loom))]
        std::thread::yield_now();
    }
    Ok(false)
}
