//! The table from thread to enabled area: the broker writes it, the workers of the tenant read it.
//!
//! Each tenant has one table, in shared memory that workers map read-only. A worker looks up the caller of
//! every notification, so a look-up is a few loads without a system call.
//!
//! Rules:
//! - One writer, the broker; any number of readers, which cannot write.
//! - Word [`SEQUENCE`] is odd while the writer changes the table. A reader that finds it odd, or changed
//!   after the look-up, tries again.
//! - Entries are open-addressed by thread id with linear probing. Removal closes gaps, so a look-up ends at
//!   the first empty entry.
//! - If the broker dies during a change, the word stays odd and readers give up after [`MAX_TRIES`] tries.
//!   Workers end with their broker.
//!
//! The Release stores and Acquire loads of `SEQUENCE` are partners; together with the fences they form a
//! seqlock (Boehm, "Can seqlocks get along with programming language memory models?").

use crate::abi::TraceMode;
use crate::device::{ArenaId, Armed, Tid};
use crate::sync::{AtomicU64, Ordering, fence};
use std::ops::Deref;

/// Index of the sequence word: odd while the table changes.
pub const SEQUENCE: usize = 0;
/// Index of a word: the worker that may wait in `SECCOMP_IOCTL_NOTIF_RECV`, by its index in the tenant.
pub const LEADER: usize = 1;
/// Index of a word: how many threads of the tenant own an instance, for their own calls or remotely.
pub const OWNERS: usize = 2;
/// Index of a word: how many instances of the tenant exist.
pub const INSTANCES: usize = 3;
/// Index of a word: how many remote handles are in use in the tenant.
pub const HANDLES: usize = 4;
/// Index of a word: whether any thread of the tenant ever had a common handle.
pub const COMMON: usize = 5;
/// Index of a word: how many files of handlers' devices the tenant has open.
pub const FILES: usize = 6;
const HEADER: usize = 8;
const ENTRY: usize = 4;

/// Threads that a table can list: 3/4 of its entries. `ENABLE` by one more thread fails with `ENOMEM`.
pub const CAPACITY: usize = ENTRIES / 4 * 3;
#[cfg(not(loom))]
const ENTRIES: usize = 4096;
#[cfg(loom)]
const ENTRIES: usize = 4;
/// Length of a table in words.
pub const WORDS: usize = HEADER + ENTRY * ENTRIES;
/// Length of a table in bytes.
pub const BYTES: usize = WORDS * 8;

/// How often a look-up is tried while the table keeps changing.
#[cfg(not(loom))]
pub const MAX_TRIES: usize = 1 << 20;
/// How often a look-up is tried while the table keeps changing.
#[cfg(loom)]
pub const MAX_TRIES: usize = 2;

const USED: u64 = 1 << 32;
const SETTLE: u64 = 1 << 33;
const ARMED: u64 = 1 << 34;
const CMP: u64 = 1 << 35;
const SHARED: u64 = 1 << 36;

/// The entry of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RosterEntry {
    /// Where its own calls are recorded; `None` if they are not.
    pub armed: Option<Armed>,
    /// Set after an `execve` that may have given this id to another thread. A worker asks the broker to
    /// settle that first.
    pub settle: bool,
}

impl RosterEntry {
    fn is_empty(self) -> bool {
        self == RosterEntry::default()
    }

    fn encode(self, tid: Tid) -> [u64; ENTRY] {
        let mut first = u64::from(tid) | USED;
        if self.settle {
            first |= SETTLE;
        }
        let Some(Armed { arena, mode, words, bitmap, shared }) = self.armed else { return [first, 0, 0, 0] };
        first |= ARMED;
        if mode == TraceMode::Cmp {
            first |= CMP;
        }
        if shared {
            first |= SHARED;
        }
        [first, u64::from(arena.index) << 32 | u64::from(arena.generation), words, bitmap]
    }

    fn decode(words: [u64; ENTRY]) -> Self {
        let [first, arena, words, bitmap] = words;
        let mode = if first & CMP == 0 { TraceMode::Pc } else { TraceMode::Cmp };
        let arena = ArenaId { index: (arena >> 32) as u32, generation: arena as u32 };
        let shared = first & SHARED != 0;
        let armed = Armed { arena, mode, words, bitmap, shared };
        RosterEntry { armed: (first & ARMED != 0).then_some(armed), settle: first & SETTLE != 0 }
    }
}

/// First entry to probe for `tid`.
fn home(tid: Tid) -> usize {
    // Thread ids are dense, so the low bits spread them well enough.
    tid as usize % ENTRIES
}

fn tid_of(first: u64) -> Option<Tid> {
    (first & USED != 0).then_some(first as u32)
}

/// Read access to a table, for workers.
#[derive(Clone, Copy, Debug)]
pub struct Roster<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Roster<'a> {
    /// Wraps the words of a table. Returns `None` unless there are [`WORDS`] of them.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Option<Self> {
        (words.len() == WORDS).then_some(Roster { words })
    }

    /// Index of the worker that may wait for notifications.
    #[must_use]
    pub fn leader(&self) -> u64 {
        // Relaxed: a stale answer only makes one worker wait needlessly, for one notification.
        self.words[LEADER].load(Ordering::Relaxed)
    }

    /// Returns whether any thread of the tenant owns an instance. If none does, an `execve` has nothing to
    /// hand on.
    #[must_use]
    pub fn has_owners(&self) -> bool {
        // Relaxed: any ENABLE that matters to this caller was answered before its call arrived.
        self.words[OWNERS].load(Ordering::Relaxed) != 0
    }

    /// Returns whether the tenant has any instance. If it has none, no descriptor can refer to one.
    #[must_use]
    pub fn has_instances(&self) -> bool {
        // Relaxed: as above, for the open.
        self.words[INSTANCES].load(Ordering::Relaxed) != 0
    }

    /// Returns whether any remote handle is in use. If none is, a remote section records nothing.
    #[must_use]
    pub fn has_handles(&self) -> bool {
        // Acquire: pairs with the Release in `count_handles`. Code that learned of a handle finds it.
        self.words[HANDLES].load(Ordering::Acquire) != 0
    }

    /// Returns whether the tenant has a file of a handler's device open. If it has none, no close can be the last of
    /// one.
    #[must_use]
    pub fn has_files(&self) -> bool {
        // Relaxed: as in `has_owners`.
        self.words[FILES].load(Ordering::Relaxed) != 0
    }

    /// Returns whether any thread ever had a common handle. Until then there is none to inherit.
    #[must_use]
    pub fn has_common(&self) -> bool {
        // Acquire: as above.
        self.words[COMMON].load(Ordering::Acquire) != 0
    }

    /// Returns the entry of `tid`, or the default (not enabled) if the table does not list it.
    #[must_use]
    pub fn find(&self, tid: Tid) -> RosterEntry {
        for _ in 0..MAX_TRIES {
            // Acquire: partner of the Release at the end of `RosterWriter::change`.
            let before = self.words[SEQUENCE].load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let entry = self.scan(tid);
                // Partner of the Release fence at the start of `RosterWriter::change`.
                fence(Ordering::Acquire);
                if self.words[SEQUENCE].load(Ordering::Relaxed) == before {
                    return entry;
                }
            }
            #[cfg(loom)]
            loom::thread::yield_now();
            #[cfg(not(loom))]
            std::hint::spin_loop();
        }
        RosterEntry::default()
    }

    fn scan(&self, tid: Tid) -> RosterEntry {
        for step in 0..ENTRIES {
            let entry = self.raw_entry((home(tid) + step) % ENTRIES);
            match tid_of(entry[0]) {
                Some(found) if found == tid => return RosterEntry::decode(entry),
                Some(_) => {}
                None => break,
            }
        }
        RosterEntry::default()
    }

    fn raw_entry(&self, index: usize) -> [u64; ENTRY] {
        // Relaxed: ordered by the sequence word.
        std::array::from_fn(|i| self.words[HEADER + index * ENTRY + i].load(Ordering::Relaxed))
    }
}

/// No entry is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the roster is full: it lists {CAPACITY} threads")]
pub struct RosterFull;

/// Write access to a table, for the broker. There is one writer for each table. `W` owns or borrows the
/// words.
#[derive(Debug)]
pub struct RosterWriter<W> {
    words: W,
    used: usize,
}

impl<W: Deref<Target = [AtomicU64]>> RosterWriter<W> {
    /// Wraps the words of an all-zero table. Returns `None` unless there are [`WORDS`] of them.
    #[must_use]
    pub fn new(words: W) -> Option<Self> {
        Roster::new(&words)?;
        Some(RosterWriter { words, used: 0 })
    }

    fn roster(&self) -> Roster<'_> {
        Roster { words: &self.words }
    }

    /// Sets the worker that may wait for notifications.
    pub fn lead(&mut self, worker: u64) {
        self.words[LEADER].store(worker, Ordering::Relaxed);
    }

    /// Publishes how many instances exist, and how many threads own one.
    pub fn count(&mut self, instances: usize, owners: usize) {
        // Release: stored before the reply on which the worker continues, and so before the tenant's next
        // call.
        self.words[INSTANCES].store(instances as u64, Ordering::Release);
        self.words[OWNERS].store(owners as u64, Ordering::Release);
    }

    /// Publishes how many files of handlers' devices are open.
    pub fn count_files(&mut self, files: usize) {
        // Release: as in `count`.
        self.words[FILES].store(files as u64, Ordering::Release);
    }

    /// Publishes how many remote handles are in use, and whether any thread ever had a common handle.
    pub fn count_handles(&mut self, handles: usize, had_common: bool) {
        // Release: as in `count`.
        self.words[HANDLES].store(handles as u64, Ordering::Release);
        self.words[COMMON].store(u64::from(had_common), Ordering::Release);
    }

    /// Returns the entry of `tid`, or the default if the table does not list it.
    #[must_use]
    pub fn find(&self, tid: Tid) -> RosterEntry {
        self.roster().scan(tid)
    }

    /// Number of threads listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.used
    }

    /// Returns whether no thread is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Replaces the entry of `tid`; the default entry removes it.
    ///
    /// # Errors
    /// [`RosterFull`] if `tid` is new and no entry is free; the table is unchanged then.
    pub fn set(&mut self, tid: Tid, entry: RosterEntry) -> Result<(), RosterFull> {
        let place = self.place(tid);
        let present = tid_of(self.roster().raw_entry(place)[0]).is_some();
        match (present, entry.is_empty()) {
            (false, true) => return Ok(()),
            (false, false) if self.used >= CAPACITY => return Err(RosterFull),
            (false, false) => self.used += 1,
            (true, true) => self.used -= 1,
            (true, false) => {}
        }
        self.change(|writer| match entry.is_empty() {
            true => writer.remove(place),
            false => writer.store(place, entry.encode(tid)),
        });
        Ok(())
    }

    /// Runs `edit` while the sequence word is odd.
    fn change(&mut self, edit: impl FnOnce(&mut Self)) {
        let before = self.words[SEQUENCE].load(Ordering::Relaxed);
        self.words[SEQUENCE].store(before.wrapping_add(1), Ordering::Relaxed);
        // Orders the odd word before the edit: partner of the Acquire fence in `Roster::find`.
        fence(Ordering::Release);
        edit(self);
        // Release orders the edit before the even word: partner of the Acquire load in `Roster::find`.
        self.words[SEQUENCE].store(before.wrapping_add(2), Ordering::Release);
    }

    /// Index of the entry of `tid`, or of the empty entry where it would go. One exists: the table is never
    /// full.
    fn place(&self, tid: Tid) -> usize {
        (0..ENTRIES)
            .map(|step| (home(tid) + step) % ENTRIES)
            .find(|&place| tid_of(self.roster().raw_entry(place)[0]).is_none_or(|found| found == tid))
            .unwrap_or(home(tid))
    }

    fn store(&mut self, place: usize, words: [u64; ENTRY]) {
        for (i, word) in words.into_iter().enumerate() {
            self.words[HEADER + place * ENTRY + i].store(word, Ordering::Relaxed);
        }
    }

    /// Empties an entry and moves later ones back, so that no look-up ends too early.
    fn remove(&mut self, place: usize) {
        let mut hole = place;
        let mut next = (hole + 1) % ENTRIES;
        while let entry = self.roster().raw_entry(next)
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

    fn entry(seed: u64) -> RosterEntry {
        let arena = ArenaId { index: seed as u32, generation: (seed >> 7) as u32 };
        let mode = if seed.is_multiple_of(2) { TraceMode::Pc } else { TraceMode::Cmp };
        let (bitmap, shared) = (seed / 3, seed.is_multiple_of(7));
        let armed = Armed { arena, mode, words: seed, bitmap, shared };
        RosterEntry { armed: (!seed.is_multiple_of(5)).then_some(armed), settle: seed.is_multiple_of(3) }
    }

    proptest! {
        /// Compares the table with a map, with ids that collide.
        #[test]
        fn behaves_as_a_map(edits in prop::collection::vec((0u32..12, 0u32..4, any::<u64>()), 0..300)) {
            let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
            let mut writer = RosterWriter::new(words.as_slice()).expect("right length");
            let mut model = HashMap::new();
            for (low, high, seed) in edits {
                let tid = low + high * ENTRIES as u32;
                let new = if seed.is_multiple_of(4) { RosterEntry::default() } else { entry(seed) };
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
            writer.set(tid, entry(1)).expect("room");
        }
        assert_eq!(writer.set(100_000, entry(1)), Err(RosterFull));
        assert_eq!(writer.find(100_000), RosterEntry::default());
        writer.set(7, RosterEntry::default()).expect("removal");
        writer.set(100_000, entry(1)).expect("room again");
        assert_eq!(writer.find(100_000), entry(1));
    }
}
