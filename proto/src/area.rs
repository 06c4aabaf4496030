//! Records in an area: the memory that a client of the KCOV device has mapped.
//!
//! Word 0 counts the records. In PC mode the words behind it are one covered point each; in CMP mode record `i`
//! is at words `1 + 4 * i`: type, arg1, arg2, pc (`kernel/kcov.c`, Linux 6.12: `__sanitizer_cov_trace_pc`,
//! `write_comp_data`).
//!
//! Laws of this module:
//! - The client may store anything anywhere at any time, from any thread. So the area is seen through atomics
//!   only, the count is read once, compared with the length of the slice (which is private), then used.
//! - One writer at a time: an arena has one armed thread, and the worker that serves it runs one call of it at a
//!   time. Therefore the bump is a plain load and store, as the kernel's is.
//! - The payload is stored before the count: a client that sees a count sees the records that it covers. The
//!   kernel stores the count first, because interrupts record into the same area; nothing interrupts us.
//! - A full area is not an error: the record is [`Appended::Lost`], and the caller counts it.
//!
//! | count found | PC mode | CMP mode |
//! |---|---|---|
//! | below the capacity | stored behind it | stored behind it |
//! | capacity and above | lost, all words stay | lost, all words stay |
//! | `u64::MAX` | position wraps to 0: the PC replaces the count | lost, all words stay |

use crate::abi::{AREA_WORDS_MIN, CMP_WORDS};
use crate::sync::{AtomicU64, Ordering};

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the area.
    Stored,
    /// The area is full, or its count is past the capacity: dropped.
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
    /// The size of `bytes` bytes; `None` for what is no 1, 2, 4 or 8.
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

    /// In bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self as u64
    }

    /// The low bits of `operand` that this size holds.
    #[inline]
    #[must_use]
    pub const fn truncate(self, operand: u64) -> u64 {
        operand & (u64::MAX >> (64 - 8 * self.bytes()))
    }
}

/// The type word of a comparison: 0..=7 (`KCOV_CMP_CONST`, `KCOV_CMP_SIZE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CmpKind {
    /// Size of both operands.
    pub size: CmpSize,
    /// Whether arg1 is a constant of the program.
    pub constant: bool,
}

impl CmpKind {
    /// Bit 0: one operand is constant; bits 1-2: log2 of the size in bytes.
    #[inline]
    #[must_use]
    pub const fn word(self) -> u64 {
        (self.size as u64) << 1 | self.constant as u64
    }

    /// The kind that `word` stands for; `None` above 7, which clients take for corruption.
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

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CmpRecord {
    /// Size of the operands, and whether the first is a constant.
    pub kind: CmpKind,
    /// First operand, zero-extended from its size; the constant one if there is one.
    pub arg1: u64,
    /// Second operand, zero-extended from its size.
    pub arg2: u64,
    /// Where the comparison is.
    pub pc: u64,
}

impl CmpRecord {
    /// The four words as they stand in an area.
    #[inline]
    #[must_use]
    pub const fn words(self) -> [u64; CMP_WORDS as usize] {
        [self.kind.word(), self.arg1, self.arg2, self.pc]
    }

    /// Reads four words of an area, which anyone may have written; `None` if the type word is none.
    #[must_use]
    pub const fn from_words(words: [u64; CMP_WORDS as usize]) -> Option<Self> {
        let [kind, arg1, arg2, pc] = words;
        match CmpKind::from_word(kind) {
            Some(kind) => Some(CmpRecord { kind, arg1, arg2, pc }),
            None => None,
        }
    }
}

/// Where a PC goes in an area of `words` words whose count is `count`: the kernel's rule without the memory. Word 0 is the
/// count itself, which the PC then replaces; `None` if the area is full.
#[must_use]
pub const fn pc_position(count: u64, words: u64) -> Option<u64> {
    let position = count.wrapping_add(1);
    if position < words { Some(position) } else { None }
}

/// The first of the four words where a comparison goes; `None` if the area is full.
#[must_use]
pub const fn cmp_position(count: u64, words: u64) -> Option<u64> {
    // Compared before it is multiplied.
    if count < words.saturating_sub(1) / CMP_WORDS { Some(1 + count * CMP_WORDS) } else { None }
}

/// A mapped area. Holding one proves that there is room for the count and one word, and that the length, from which every
/// bound is taken, is out of the client's reach.
#[derive(Clone, Copy, Debug)]
pub struct Area<'a> {
    count: &'a AtomicU64,
    records: &'a [AtomicU64],
}

impl<'a> Area<'a> {
    /// Takes `words` for an area; `None` below [`AREA_WORDS_MIN`] words.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        let (count, records) = words.split_first()?;
        (words.len() as u64 >= AREA_WORDS_MIN).then_some(Area { count, records })
    }

    /// Words of the area, the count included: what `INIT_TRACE` was given.
    #[must_use]
    pub fn words(&self) -> u64 {
        self.records.len() as u64 + 1
    }

    /// Most PC records.
    #[inline]
    #[must_use]
    pub fn pc_capacity(&self) -> u64 {
        self.records.len() as u64
    }

    /// Most CMP records; 0 below 5 words.
    #[must_use]
    pub fn cmp_capacity(&self) -> u64 {
        self.comparisons().len() as u64
    }

    /// Appends a covered point.
    #[inline]
    pub fn append_pc(&self, pc: u64) -> Appended {
        if self.append_pc_within(pc) { Appended::Stored } else { self.append_pc_beyond(pc) }
    }

    /// The usual case of [`Area::append_pc`]: a count below the capacity. `false` if it is not, and nothing is done.
    /// A caller with a hot path of its own does the rest out of line.
    #[inline]
    #[must_use]
    pub fn append_pc_within(&self, pc: u64) -> bool {
        let count = self.count();
        let Area { count: word, records } = *self;
        let Some(slot) = usize::try_from(count).ok().and_then(|at| records.get(at)) else {
            return false;
        };
        slot.store(pc, Ordering::Relaxed);
        // Release: pairs with the client's load of the count, and comes after the payload.
        word.store(count + 1, Ordering::Release);
        true
    }

    /// The kernel computes the position as count + 1 in 64 bits: `u64::MAX` wraps to word 0, the count itself,
    /// where the PC is what stays.
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
        // Acquire, and Release below: as in `count` and `append_pc_within`.
        let count = self.count.load(Ordering::Acquire);
        // Compared before it is multiplied: kernels that multiplied first wrote out of bounds (2^59, 2^61, 2^62).
        let Some(slots) = usize::try_from(count).ok().and_then(|at| self.comparisons().get(at)) else {
            return Appended::Lost;
        };
        for (slot, word) in slots.iter().zip(record.words()) {
            slot.store(word, Ordering::Relaxed);
        }
        self.count.store(count + 1, Ordering::Release);
        Appended::Stored
    }

    /// The count as it stands: an allegation, any value.
    #[inline]
    #[must_use]
    pub fn count(&self) -> u64 {
        // Acquire: pairs with the client's store of 0. A client that reads a trace and then resets cannot find a
        // record of the next trace in the one that it reads.
        self.count.load(Ordering::Acquire)
    }

    /// Sets the count to 0, as clients do before a call.
    pub fn reset(&self) {
        self.count.store(0, Ordering::Release);
    }

    /// The PC records that the count covers, at most [`Area::pc_capacity`] of them.
    #[must_use]
    pub fn pcs(&self) -> Vec<u64> {
        let count = usize::try_from(self.count()).unwrap_or(usize::MAX);
        self.records.iter().take(count).map(|slot| slot.load(Ordering::Relaxed)).collect()
    }

    /// The CMP records that the count covers, at most [`Area::cmp_capacity`] of them, as words: see
    /// [`CmpRecord::from_words`].
    #[must_use]
    pub fn cmps(&self) -> Vec<[u64; CMP_WORDS as usize]> {
        let count = usize::try_from(self.count()).unwrap_or(usize::MAX);
        let load = |slots: &[AtomicU64; CMP_WORDS as usize]| {
            slots.each_ref().map(|slot| slot.load(Ordering::Relaxed))
        };
        self.comparisons().iter().take(count).map(load).collect()
    }

    /// The words behind the count in fours. Up to three at the end are in none.
    #[inline]
    fn comparisons(&self) -> &'a [[AtomicU64; CMP_WORDS as usize]] {
        self.records.as_chunks().0
    }
}
