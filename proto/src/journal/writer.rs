//! Appends events to the journal of this worker.

use super::event::{OPEN, head, head_of_read, is_beginning, words_of};
use super::{ACTIVE, BEGINNING, Event, LOG, MAX_READ_BYTES, MISSING, READS, ROOM, USED, WORDS};
use crate::device::ArenaId;
use crate::sync::{AtomicU64, Ordering};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// Most opens of still open files that are kept when older events are dropped. They take an eighth of the
/// log.
const MAX_OPENS: usize = 1024;

/// Appends to a journal.
///
/// When the log is full, the older half of the events is dropped, except the opens of files that are still
/// open: without them a replay could not repeat the requests on these files.
#[derive(Debug)]
pub struct JournalWriter<M> {
    memory: M,
    open: RefCell<BTreeMap<ArenaId, Vec<u64>>>,
}

impl<M: Deref<Target = [AtomicU64]>> JournalWriter<M> {
    /// Wraps the memory of a journal. Returns `None` if it is shorter than [`WORDS`].
    pub fn new(memory: M) -> Option<Self> {
        (memory.len() >= WORDS).then(|| JournalWriter { memory, open: RefCell::default() })
    }

    /// Appends an event. One that hands new work to a handler stays active until
    /// [`finished`](Self::finished).
    pub fn append(&self, event: &Event) {
        let words = event.encoded();
        let Some(used) = self.room_for(words.len(), event.begins()) else { return };
        self.store(used, words.iter().copied());
        self.memory[USED].store((used + words.len()) as u64, Ordering::Release);
        if event.begins() {
            self.memory[ACTIVE].store(1, Ordering::Release);
        }
        self.track_open_file(event, words);
    }

    /// Appends an [`Event::Read`] without copying the bytes first: there may be many.
    pub fn append_read(&self, address: u64, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(MAX_READ_BYTES)];
        let head = head_of_read(address, kept);
        let data = kept.len().div_ceil(8);
        let Some(used) = self.room_for(head.len() + data, false) else { return };
        self.store(used, head);
        self.store(used + head.len(), words_of(kept));
        self.memory[USED].store((used + head.len() + data) as u64, Ordering::Release);
    }

    /// Makes room for an event of this many words and returns its place. If there is no room, sets [`READS`]
    /// and returns `None`.
    fn room_for(&self, words: usize, begins: bool) -> Option<usize> {
        let mut used = self.used();
        if used + words > ROOM {
            used = self.make_room(used, words, begins);
        }
        if used + words > ROOM {
            self.mark_missing(READS);
            return None;
        }
        Some(used)
    }

    /// Marks the work that the last event began as done.
    pub fn finished(&self) {
        self.memory[ACTIVE].store(0, Ordering::Release);
    }

    /// The shared memory of the journal.
    pub fn memory(&self) -> &[AtomicU64] {
        &self.memory
    }

    fn used(&self) -> usize {
        (self.memory[USED].load(Ordering::Relaxed) as usize).min(ROOM)
    }

    fn mark_missing(&self, what: u64) {
        let missing = self.memory[MISSING].load(Ordering::Relaxed);
        self.memory[MISSING].store(missing | what, Ordering::Relaxed);
    }

    fn logged(&self, at: usize) -> u64 {
        self.memory[LOG + at].load(Ordering::Relaxed)
    }

    fn store(&self, at: usize, words: impl IntoIterator<Item = u64>) {
        for (place, word) in self.memory[LOG + at..].iter().zip(words) {
            place.store(word, Ordering::Relaxed);
        }
    }

    fn track_open_file(&self, event: &Event, words: Vec<u64>) {
        match event {
            Event::Open { file, .. } => drop(self.open.borrow_mut().insert(*file, words)),
            Event::Closed { file } => drop(self.open.borrow_mut().remove(file)),
            _ => {}
        }
    }

    /// The opens of files that are still open, without those that the log contains from `cut` on.
    fn earlier_opens(&self, cut: usize, used: usize) -> Vec<u64> {
        let listed: BTreeSet<u64> = events(used - cut, |at| self.logged(cut + at))
            .filter(|(at, kind)| *kind == OPEN && cut + at + 1 < used)
            .map(|(at, _)| self.logged(cut + at + 1))
            .collect();
        let open = self.open.borrow();
        let earlier =
            open.iter().filter(|(file, _)| !listed.contains(&file.number())).map(|(_, words)| words);
        earlier.rev().take(MAX_OPENS).flatten().copied().collect()
    }

    /// Drops older events. Keeps the active one, unless a new one `begins`. Returns the length of the log in
    /// words.
    fn make_room(&self, used: usize, needed: usize, begins: bool) -> usize {
        let cut = cut(used, |at| self.logged(at), begins);
        if cut == 0 {
            return used;
        }
        let opens = self.earlier_opens(cut, used);
        let all = opens.len() + (used - cut);
        let rest = if all + needed <= ROOM || !begins { used - cut } else { 0 };
        let kept = opens.len() + rest;
        if kept > ROOM {
            return used;
        }
        // An empty log, because a partly moved one would not parse.
        self.memory[USED].store(0, Ordering::Release);
        self.shift(cut, opens.len(), rest);
        self.store(0, opens);
        self.memory[USED].store(kept as u64, Ordering::Release);
        self.mark_missing(BEGINNING);
        kept
    }

    /// Moves `count` words of the log in place: there may be many.
    fn shift(&self, from: usize, to: usize, count: usize) {
        let one = |at: usize| self.memory[LOG + to + at].store(self.logged(from + at), Ordering::Relaxed);
        // Copy in the direction that overwrites no word before it is moved.
        if to <= from { (0..count).for_each(one) } else { (0..count).rev().for_each(one) }
    }
}

/// The positions and kinds of the events in a log of `used` words. Reads only the first word of each event.
fn events(used: usize, word: impl Fn(usize) -> u64) -> impl Iterator<Item = (usize, u64)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let place = next;
        let (kind, length) = (place < used).then(|| head(word(place)))?;
        next = place.saturating_add(1).saturating_add(length);
        Some((place, kind))
    })
}

/// Position of the first event in the younger half of the log that hands work to a handler. If there is none:
/// the end of the log if `all` events may go, else the last such event.
fn cut(used: usize, word: impl Fn(usize) -> u64, all: bool) -> usize {
    let beginnings = || events(used, &word).filter(|(_, kind)| is_beginning(*kind)).map(|(at, _)| at);
    let in_half = beginnings().find(|&at| at >= used / 2);
    in_half.unwrap_or_else(|| if all { used } else { beginnings().last().unwrap_or_default() })
}
