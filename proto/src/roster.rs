//! The table from thread to armed area: the broker writes it, the workers of the tenant read it.
//!
//! One table for a tenant, in shared memory that workers map read-only. A worker looks its caller up for every
//! notification, so a look-up is a few loads and no system call.
//!
//! Laws:
//! - One writer, the broker; any number of readers, which cannot write.
//! - Word [`SEQUENCE`] is odd while the writer is at work. A reader that sees it odd, or changed, reads again.
//! - Entries are open-addressed by thread id with linear probing and kept without gaps, so a look-up ends at the
//!   first empty entry.
//! - A reader of a table that the writer left half-written (it died) gives up after [`PATIENCE`] tries: the worker is
//!   about to die with its broker.
//!
//! The Release stores and Acquire loads of `SEQUENCE` are partners; the fences make a seqlock of them (Boehm, "Can
//! seqlocks get along with programming language memory models?").

use crate::abi::TraceMode;
use crate::device::{ArenaId, Armed, Tid};
use crate::sync::{AtomicU64, Ordering, fence};
use std::ops::Deref;

/// Word: odd while the table changes.
pub const SEQUENCE: usize = 0;
/// Word: index of the worker that may wait in `NOTIF_RECV`.
pub const LEADER: usize = 1;
/// Word: threads of the tenant that own an instance, armed or remote.
pub const OWNERS: usize = 2;
/// Word: instances of the tenant that exist.
pub const INSTANCES: usize = 3;
const HEADER: usize = 8;
const ENTRY: usize = 4;

/// Threads that a table holds: 3/4 of its entries. More armed threads than this get `ENOMEM` on `ENABLE`.
pub const CAPACITY: usize = ENTRIES / 4 * 3;
#[cfg(not(loom))]
const ENTRIES: usize = 4096;
#[cfg(loom)]
const ENTRIES: usize = 4;
/// Words of a table.
pub const WORDS: usize = HEADER + ENTRY * ENTRIES;
/// Bytes of a table.
pub const BYTES: usize = WORDS * 8;

/// Tries of a look-up that keeps meeting a change.
#[cfg(not(loom))]
pub const PATIENCE: usize = 1 << 20;
/// Tries of a look-up that keeps meeting a change.
#[cfg(loom)]
pub const PATIENCE: usize = 2;

const USED: u64 = 1 << 32;
const SETTLE: u64 = 1 << 33;
const ARMED: u64 = 1 << 34;
const CMP: u64 = 1 << 35;

/// What the roster says of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Line {
    /// Its calls are recorded.
    pub armed: Option<Armed>,
    /// An `execve` may have given this id to another thread: ask the broker before anything else.
    pub settle: bool,
}

impl Line {
    fn is_empty(self) -> bool {
        self == Line::default()
    }

    fn encode(self, tid: Tid) -> [u64; ENTRY] {
        let mut first = u64::from(tid) | USED;
        if self.settle {
            first |= SETTLE;
        }
        let Some(Armed { arena, mode, words }) = self.armed else { return [first, 0, 0, 0] };
        first |= ARMED;
        if mode == TraceMode::Cmp {
            first |= CMP;
        }
        [first, u64::from(arena.index) << 32 | u64::from(arena.generation), words, 0]
    }

    fn decode(words: [u64; ENTRY]) -> Self {
        let [first, arena, capacity, _] = words;
        let mode = if first & CMP == 0 { TraceMode::Pc } else { TraceMode::Cmp };
        let arena = ArenaId { index: (arena >> 32) as u32, generation: arena as u32 };
        let armed = (first & ARMED != 0).then_some(Armed { arena, mode, words: capacity });
        Line { armed, settle: first & SETTLE != 0 }
    }
}

/// Where the search for `tid` starts.
fn home(tid: Tid) -> usize {
    // Thread ids are dense: the low bits spread them well enough.
    tid as usize % ENTRIES
}

fn tid_of(first: u64) -> Option<Tid> {
    (first & USED != 0).then_some(first as u32)
}

/// The table as workers see it.
#[derive(Clone, Copy, Debug)]
pub struct Roster<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Roster<'a> {
    /// A view of a table; `None` unless `words` is [`WORDS`] long.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        (words.len() == WORDS).then_some(Roster { words })
    }

    /// Index of the worker that may wait for notifications.
    #[must_use]
    pub fn leader(&self) -> u64 {
        // Relaxed: a stale answer costs one needless waiter, for one notification.
        self.words[LEADER].load(Ordering::Relaxed)
    }

    /// Whether any thread of the tenant owns an instance, so that an `execve` may hand one on.
    #[must_use]
    pub fn has_owners(&self) -> bool {
        // Relaxed: an ENABLE that matters to the caller was answered before the caller's call came in.
        self.words[OWNERS].load(Ordering::Relaxed) != 0
    }

    /// Whether the tenant has any instance, so that a descriptor may be one.
    #[must_use]
    pub fn has_instances(&self) -> bool {
        // Relaxed: as above, for the open.
        self.words[INSTANCES].load(Ordering::Relaxed) != 0
    }

    /// What the table says of `tid`; a thread that it does not list is not armed.
    #[must_use]
    pub fn find(&self, tid: Tid) -> Line {
        for _ in 0..PATIENCE {
            // Acquire: partner of the Release at the end of `RosterWriter::change`.
            let before = self.words[SEQUENCE].load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let line = self.scan(tid);
                // Partner of the Release fence at the start of `RosterWriter::change`.
                fence(Ordering::Acquire);
                if self.words[SEQUENCE].load(Ordering::Relaxed) == before {
                    return line;
                }
            }
            #[cfg(loom)]
            loom::thread::yield_now();
            #[cfg(not(loom))]
            std::hint::spin_loop();
        }
        Line::default()
    }

    fn scan(&self, tid: Tid) -> Line {
        for step in 0..ENTRIES {
            let entry = self.entry((home(tid) + step) % ENTRIES);
            match tid_of(entry[0]) {
                Some(found) if found == tid => return Line::decode(entry),
                Some(_) => {}
                None => break,
            }
        }
        Line::default()
    }

    fn entry(&self, index: usize) -> [u64; ENTRY] {
        // Relaxed: ordered by the sequence word.
        std::array::from_fn(|i| self.words[HEADER + index * ENTRY + i].load(Ordering::Relaxed))
    }
}

/// The table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the roster lists {CAPACITY} threads already")]
pub struct RosterFull;

/// The table as the broker sees it; there is one for each table. `W` owns or borrows the words.
#[derive(Debug)]
pub struct RosterWriter<W> {
    words: W,
    used: usize,
}

impl<W: Deref<Target = [AtomicU64]>> RosterWriter<W> {
    /// The writer of an all-zero table; `None` unless `words` is [`WORDS`] long.
    #[must_use]
    pub fn new(words: W) -> Option<Self> {
        Roster::new(&words)?;
        Some(RosterWriter { words, used: 0 })
    }

    fn roster(&self) -> Roster<'_> {
        Roster { words: &self.words }
    }

    /// Names the worker that may wait for notifications.
    pub fn lead(&mut self, worker: u64) {
        self.words[LEADER].store(worker, Ordering::Relaxed);
    }

    /// Shows how many instances there are, and how many threads own one.
    pub fn count(&mut self, instances: usize, owners: usize) {
        // Release: before the reply that the worker sends on, which orders it for the tenant as well.
        self.words[INSTANCES].store(instances as u64, Ordering::Release);
        self.words[OWNERS].store(owners as u64, Ordering::Release);
    }

    /// What the table says of `tid`.
    #[must_use]
    pub fn find(&self, tid: Tid) -> Line {
        self.roster().scan(tid)
    }

    /// Threads listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether no thread is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Sets what the table says of `tid`; an empty line removes it.
    ///
    /// # Errors
    /// [`RosterFull`] if a new line finds no place; nothing is changed then.
    pub fn set(&mut self, tid: Tid, line: Line) -> Result<(), RosterFull> {
        let place = self.place(tid);
        let present = tid_of(self.roster().entry(place)[0]).is_some();
        match (present, line.is_empty()) {
            (false, true) => return Ok(()),
            (false, false) if self.used >= CAPACITY => return Err(RosterFull),
            (false, false) => self.used += 1,
            (true, true) => self.used -= 1,
            (true, false) => {}
        }
        self.change(|writer| match line.is_empty() {
            true => writer.remove(place),
            false => writer.store(place, line.encode(tid)),
        });
        Ok(())
    }

    /// Runs `edit` with the sequence word odd.
    fn change(&mut self, edit: impl FnOnce(&mut Self)) {
        let before = self.words[SEQUENCE].load(Ordering::Relaxed);
        self.words[SEQUENCE].store(before.wrapping_add(1), Ordering::Relaxed);
        // The odd word is seen before any of the edit: partner of the Acquire fence in `Roster::find`.
        fence(Ordering::Release);
        edit(self);
        // Release: the edit is seen before the even word: partner of the Acquire load in `Roster::find`.
        self.words[SEQUENCE].store(before.wrapping_add(2), Ordering::Release);
    }

    /// The entry of `tid`, or the empty one where it would go. There always is one: the table is never full.
    fn place(&self, tid: Tid) -> usize {
        (0..ENTRIES)
            .map(|step| (home(tid) + step) % ENTRIES)
            .find(|&place| tid_of(self.roster().entry(place)[0]).is_none_or(|found| found == tid))
            .unwrap_or(home(tid))
    }

    fn store(&mut self, place: usize, words: [u64; ENTRY]) {
        for (i, word) in words.into_iter().enumerate() {
            self.words[HEADER + place * ENTRY + i].store(word, Ordering::Relaxed);
        }
    }

    /// Empties an entry and moves later ones back, so that no search ends too early.
    fn remove(&mut self, place: usize) {
        let mut hole = place;
        let mut next = (hole + 1) % ENTRIES;
        while let entry = self.roster().entry(next)
            && let Some(tid) = tid_of(entry[0])
        {
            let distance = |to: usize| (to + ENTRIES - home(tid)) % ENTRIES;
            if distance(hole) < distance(next) {
                self.store(hole, entry);
                hole = next;
            }
            next = (next + 1) % ENTRIES;
        }
        self.store(hole, [0; ENTRY]);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn line(seed: u64) -> Line {
        let arena = ArenaId { index: seed as u32, generation: (seed >> 7) as u32 };
        let mode = if seed.is_multiple_of(2) { TraceMode::Pc } else { TraceMode::Cmp };
        let armed = (!seed.is_multiple_of(5)).then_some(Armed { arena, mode, words: seed });
        Line { armed, settle: seed.is_multiple_of(3) }
    }

    proptest! {
        /// Against a map, with ids that collide.
        #[test]
        fn behaves_as_a_map(edits in prop::collection::vec((0u32..12, 0u32..4, any::<u64>()), 0..300)) {
            let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
            let mut writer = RosterWriter::new(words.as_slice()).expect("right length");
            let mut model = HashMap::new();
            for (low, high, seed) in edits {
                let tid = low + high * ENTRIES as u32;
                let new = if seed.is_multiple_of(4) { Line::default() } else { line(seed) };
                writer.set(tid, new).expect("room");
                if new.is_empty() { model.remove(&tid); } else { model.insert(tid, new); }
                prop_assert_eq!(writer.len(), model.len());
            }
            let reader = Roster::new(&words).expect("right length");
            for low in 0..12 {
                for high in 0..4 {
                    let tid = low + high * ENTRIES as u32;
                    prop_assert_eq!(reader.find(tid), model.get(&tid).copied().unwrap_or_default());
                }
            }
        }
    }

    #[test]
    fn a_full_table_refuses_and_stays_as_it_is() {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let mut writer = RosterWriter::new(words.as_slice()).expect("right length");
        for tid in 1..=CAPACITY as u32 {
            writer.set(tid, line(1)).expect("room");
        }
        assert_eq!(writer.set(100_000, line(1)), Err(RosterFull));
        assert_eq!(writer.find(100_000), Line::default());
        writer.set(7, Line::default()).expect("removal");
        writer.set(100_000, line(1)).expect("room again");
        assert_eq!(writer.find(100_000), line(1));
    }
}
