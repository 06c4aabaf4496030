//! A seqlock over shared words: one side replaces a body, others copy it consistently.
//!
//! The sequence word is odd while the writer changes the body. A reader that finds it odd, or changed after
//! the copy, tries again. It gives up after [`MAX_TRIES`], because the writer may have died during a change.
//! The fences follow Boehm, "Can seqlocks get along with programming language memory models?".

use crate::sync::{AtomicU64, Ordering, fence};

/// How often a reader tries while the body keeps changing. A change takes about a microsecond and happens at
/// most a hundred times a second.
#[cfg(not(loom))]
pub const MAX_TRIES: usize = 64;
/// How often a reader tries while the body keeps changing.
#[cfg(loom)]
pub const MAX_TRIES: usize = 2;

/// The memory that a reader copies from: a mapping, or a file by `pread(2)`.
pub trait Source {
    /// Error of a failed read.
    type Error;

    /// Copies words, starting with the one at index `at`. Each is read by a relaxed load or stronger.
    ///
    /// # Errors
    /// If the words cannot be read.
    fn read(&mut self, at: usize, words: &mut [u64]) -> Result<(), Self::Error>;
}

impl Source for &[AtomicU64] {
    type Error = std::convert::Infallible;

    /// Words past the end are left unchanged.
    fn read(&mut self, at: usize, words: &mut [u64]) -> Result<(), Self::Error> {
        for (word, shared) in words.iter_mut().zip(self.iter().skip(at)) {
            *word = shared.load(Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Replaces the first words of `body` by `values`. There must be only one writer.
pub fn write(sequence: &AtomicU64, body: &[AtomicU64], values: impl IntoIterator<Item = u64>) {
    // Relaxed: this is the only writer. The word is odd if an earlier writer died during a change; `& !1`
    // repairs that.
    let before = sequence.load(Ordering::Relaxed) & !1;
    sequence.store(before.wrapping_add(1), Ordering::Relaxed);
    // Partner of the Acquire fence after the copy in `read`: a reader that copied a new word sees the changed
    // sequence.
    fence(Ordering::Release);
    for (word, value) in body.iter().zip(values) {
        word.store(value, Ordering::Relaxed);
    }
    // Release: partner of the first Acquire fence in `read`.
    sequence.store(before.wrapping_add(2), Ordering::Release);
}

/// Copies the words from index `at` into `body`. Returns whether the copy is consistent.
///
/// # Errors
/// Errors of the source.
pub fn read<S: Source>(
    source: &mut S,
    sequence: usize,
    at: usize,
    body: &mut [u64],
) -> Result<bool, S::Error> {
    for _ in 0..MAX_TRIES {
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
