//! Appending records to an area: the memory that a client of the KCOV device has mapped.
//!
//! Word 0 counts the records. In PC mode each of the words behind it is one covered PC. In CMP mode record
//! `i` has the words from `1 + 4 * i`: type, arg1, arg2, pc. The rules are those of
//! `__sanitizer_cov_trace_pc` and `write_comp_data` (kernel/kcov.c, Linux 6.12).
//!
//! Rules of this module:
//! - The client may store anything anywhere at any time, from any thread. So all access is atomic, and the
//!   count is read once, compared with the length of the slice (which is private memory), then used.
//! - Usually there is one writer at a time: one thread has an area enabled, and one worker handles one call of
//!   it at a time. So the count is incremented by a plain load and store, as in the kernel. The payload is
//!   stored before the count: a client that sees a count also sees the records that it covers. (The kernel
//!   stores the count first, because interrupts record into the same area; here nothing interrupts.)
//! - Areas with several writers have functions of their own, [`append_pc_shared`](Area::append_pc_shared) and
//!   [`append_cmp_shared`](Area::append_cmp_shared). They increment the count by compare-and-swap, which
//!   reserves the record for this writer, and store the payload afterwards. So a client that reads while a
//!   writer appends may find a record whose payload is still the old one. Once the writer's call has returned,
//!   its records are complete. Never `fetch_add`: it would increment the count beyond the capacity, which
//!   clients take for corruption, and would undo a reset.
//! - [`Area::merge`], at the end of a remote section, replaces the count by compare-and-swap after it has stored
//!   the payload: no other writer appends then.
//! - A full area is not an error: the record is [`Appended::Lost`], and the caller counts it.
//!
//! | count found | PC mode | CMP mode |
//! |---|---|---|
//! | below the capacity | record stored, count incremented | record stored, count incremented |
//! | at or above the capacity | lost, no word changes | lost, no word changes |
//! | `u64::MAX` | position wraps to 0: the PC overwrites the count | lost, no word changes |

mod merge;

pub use merge::Merged;

use crate::abi::{AREA_WORDS_MIN, CMP_WORDS};
use crate::sync::{AtomicU64, Ordering};

/// The outcome of appending a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The record is in the area.
    Stored,
    /// The record was dropped: the area is full, or its count is above the capacity.
    Lost,
}

/// Size of the operands of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum CmpSize {
    /// 1 byte.
    One = 0,
    /// 2 bytes.
    Two = 1,
    /// 4 bytes.
    Four = 2,
    /// 8 bytes.
    Eight = 3,
}

impl CmpSize {
    /// Converts a number of bytes; `None` if it is not 1, 2, 4 or 8.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            1 => Some(CmpSize::One),
            2 => Some(CmpSize::Two),
            4 => Some(CmpSize::Four),
            8 => Some(CmpSize::Eight),
            _ => None,
        }
    }

    /// The size in bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self as u64
    }

    /// The low bits of `operand` that have this size; the rest is 0.
    #[inline]
    #[must_use]
    pub const fn truncate(self, operand: u64) -> u64 {
        operand & (u64::MAX >> (64 - 8 * self.bytes()))
    }

    /// Undoes the sign extension of an operand of this size. An operand that no extension makes stays as it is.
    #[inline]
    #[must_use]
    pub const fn unextend(self, operand: u64) -> u64 {
        let unused = 64 - 8 * self.bytes();
        let is_extended = ((operand << unused) as i64 >> unused) as u64 == operand;
        if is_extended { self.truncate(operand) } else { operand }
    }
}

/// The type word of a comparison, 0 to 7 (`KCOV_CMP_CONST`, `KCOV_CMP_SIZE` in include/uapi/linux/kcov.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CmpKind {
    /// Size of both operands.
    pub size: CmpSize,
    /// Whether arg1 is a constant of the program.
    pub constant: bool,
}

impl CmpKind {
    /// Encodes the type word. Bit 0: one operand is constant; bits 1-2: log2 of the size in bytes.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.size as u64) << 1 | self.constant as u64
    }

    /// Decodes a type word. `None` above 7, which clients treat as corruption.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word > 7 {
            return None;
        }
        match CmpSize::from_bytes(1 << (word >> 1)) {
            Some(size) => Some(CmpKind { size, constant: word & 1 == 1 }),
            None => None,
        }
    }
}

/// A comparison record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CmpRecord {
    /// Size of the operands, and whether the first is a constant.
    pub kind: CmpKind,
    /// First operand, zero-extended. If one operand is a constant, it is this one.
    pub arg1: u64,
    /// Second operand, zero-extended.
    pub arg2: u64,
    /// PC of the comparison.
    pub pc: u64,
}

impl CmpRecord {
    /// The four words of the record in an area.
    #[inline]
    #[must_use]
    pub const fn words(self) -> [u64; CMP_WORDS as usize] {
        [self.kind.word(), self.arg1, self.arg2, self.pc]
    }

    /// Decodes four words of an area, which are untrusted. `None` if the type word is invalid.
    #[must_use]
    pub const fn from_words(words: [u64; CMP_WORDS as usize]) -> Option<Self> {
        let [kind, arg1, arg2, pc] = words;
        match CmpKind::from_word(kind) {
            Some(kind) => Some(CmpRecord { kind, arg1, arg2, pc }),
            None => None,
        }
    }
}

/// Index of the word for the next PC in an area of `words` words with this `count`; `None` if the area is
/// full. This is the kernel's rule without the memory: index 0 means that the PC overwrites the count.
#[must_use]
pub const fn pc_position(count: u64, words: u64) -> Option<u64> {
    let position = count.wrapping_add(1);
    if position < words { Some(position) } else { None }
}

/// Index of the first of the four words for the next comparison; `None` if the area is full.
#[must_use]
pub const fn cmp_position(count: u64, words: u64) -> Option<u64> {
    // Compare before multiplying, so that the product cannot overflow.
    if count < words.saturating_sub(1) / CMP_WORDS { Some(1 + count * CMP_WORDS) } else { None }
}

/// A mapped area. Proves that it has room for the count and one record. Its length, which bounds every
/// access, is in private memory, out of the client's reach.
#[derive(Clone, Copy, Debug)]
pub struct Area<'a> {
    count: &'a AtomicU64,
    records: &'a [AtomicU64],
}

impl<'a> Area<'a> {
    /// Wraps the words of an area. `None` if there are fewer than [`AREA_WORDS_MIN`].
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        let (count, records) = words.split_first()?;
        (words.len() as u64 >= AREA_WORDS_MIN).then_some(Area { count, records })
    }

    /// Size of the area in words, including the count: the argument of `INIT_TRACE`.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.records.len() as u64 + 1
    }

    /// Most PC records that fit.
    #[inline]
    #[must_use]
    pub fn pc_capacity(&self) -> u64 {
        self.records.len() as u64
    }

    /// Most CMP records that fit; 0 in an area below 5 words.
    #[must_use]
    pub fn cmp_capacity(&self) -> u64 {
        self.comparisons().len() as u64
    }

    /// Appends a PC.
    #[inline]
    pub fn append_pc(&self, pc: u64) -> Appended {
        if self.append_pc_within(pc) { Appended::Stored } else { self.append_pc_beyond(pc) }
    }

    /// The fast path of [`Area::append_pc`]: appends if the count is below the capacity. Otherwise does
    /// nothing and returns `false`; a caller with its own hot path then handles the rest out of line.
    #[inline]
    #[must_use]
    pub fn append_pc_within(&self, pc: u64) -> bool {
        let count = self.count();
        let Area { count: word, records } = *self;
        let Some(slot) = usize::try_from(count).ok().and_then(|at| records.get(at)) else {
            return false;
        };
        slot.store(pc, Ordering::Relaxed);
        // Release: pairs with the client's load of the count, and orders the payload before it.
        word.store(count + 1, Ordering::Release);
        true
    }

    /// The slow path. The kernel computes the position as count + 1 in 64 bits: `u64::MAX` wraps to word 0,
    /// the count, which the PC then overwrites.
    #[cold]
    fn append_pc_beyond(&self, pc: u64) -> Appended {
        if self.count.load(Ordering::Acquire) != u64::MAX {
            return Appended::Lost;
        }
        self.count.store(pc, Ordering::Release);
        Appended::Stored
    }

    /// Appends a comparison, whole or not at all.
    #[inline]
    pub fn append_cmp(&self, record: CmpRecord) -> Appended {
        // Acquire here and Release below: as in `count` and `append_pc_within`.
        let count = self.count.load(Ordering::Acquire);
        // Compare before multiplying. Kernels that multiplied first wrote out of bounds for counts such as
        // 2^59, 2^61 and 2^62.
        let Some(slots) = usize::try_from(count).ok().and_then(|at| self.comparisons().get(at)) else {
            return Appended::Lost;
        };
        for (slot, word) in slots.iter().zip(record.words()) {
            slot.store(word, Ordering::Relaxed);
        }
        self.count.store(count + 1, Ordering::Release);
        Appended::Stored
    }

    /// Appends a PC to an area with several writers.
    #[inline]
    pub fn append_pc_shared(&self, pc: u64) -> Appended {
        let slot = |count: u64| usize::try_from(count).ok().and_then(|at| self.records.get(at));
        match self.reserve(slot) {
            Ok(slot) => {
                slot.store(pc, Ordering::Relaxed);
                Appended::Stored
            }
            // As in `append_pc_beyond`. If the count has changed meanwhile, the record counts as one that
            // came before the change, and was lost.
            Err(u64::MAX) => {
                let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
                match self.count.compare_exchange(u64::MAX, pc, success, failure) {
                    Ok(_) => Appended::Stored,
                    Err(_) => Appended::Lost,
                }
            }
            Err(_) => Appended::Lost,
        }
    }

    /// Appends a comparison to an area with several writers, whole or not at all.
    #[inline]
    pub fn append_cmp_shared(&self, record: CmpRecord) -> Appended {
        let slots = |count: u64| usize::try_from(count).ok().and_then(|at| self.comparisons().get(at));
        let Ok(slots) = self.reserve(slots) else { return Appended::Lost };
        for (slot, word) in slots.iter().zip(record.words()) {
            slot.store(word, Ordering::Relaxed);
        }
        Appended::Stored
    }

    /// Increments the count, if `place` has a record for its old value, and returns that record; otherwise
    /// returns the count that was found.
    #[inline]
    fn reserve<T>(&self, place: impl Fn(u64) -> Option<T>) -> Result<T, u64> {
        let mut count = self.count();
        loop {
            let Some(found) = place(count) else { return Err(count) };
            // Acquire: no payload is stored before the record is reserved; also as in `count`. Release: pairs
            // with the client's load, which then finds the earlier records of this writer complete.
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            match self.count.compare_exchange_weak(count, count + 1, success, failure) {
                Ok(_) => return Ok(found),
                Err(other) => count = other,
            }
        }
    }

    /// The current count. It is untrusted: the client may have stored any value.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u64 {
        // Acquire: pairs with the client's store of 0. A client that reads a trace and then resets the count
        // never finds a record of the next trace in the old one.
        self.count.load(Ordering::Acquire)
    }

    /// Sets the count to 0, as clients do before each call.
    pub fn reset(&self) {
        self.count.store(0, Ordering::Release);
    }

    /// The PC records that the count covers, at most [`Area::pc_capacity`].
    #[must_use]
    pub fn pcs(&self) -> Vec<u64> {
        let count = usize::try_from(self.count()).unwrap_or(usize::MAX);
        self.records.iter().take(count).map(|slot| slot.load(Ordering::Relaxed)).collect()
    }

    /// The words of the CMP records that the count covers, at most [`Area::cmp_capacity`] records. Decode
    /// them with [`CmpRecord::from_words`].
    #[must_use]
    pub fn cmps(&self) -> Vec<[u64; CMP_WORDS as usize]> {
        let count = usize::try_from(self.count()).unwrap_or(usize::MAX);
        let load = |slots: &[AtomicU64; CMP_WORDS as usize]| {
            slots.each_ref().map(|slot| slot.load(Ordering::Relaxed))
        };
        self.comparisons().iter().take(count).map(load).collect()
    }

    /// The words behind the count in groups of four. Up to three words at the end are unused.
    #[inline]
    fn comparisons(&self) -> &'a [[AtomicU64; CMP_WORDS as usize]] {
        self.records.as_chunks().0
    }
}
