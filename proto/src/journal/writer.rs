//! Writing a journal, in the worker whose it is.

use super::event::{OPEN, head, head_of_read, is_beginning, words_of};
use super::{ACTIVE, BEGINNING, Event, LOG, MISSING, MOST_KEPT, READS, ROOM, USED, WORDS};
use crate::device::ArenaId;
use crate::sync::{AtomicU64, Ordering};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// Most opens that are kept of files that are open still, when older events make room: an eighth of the log.
const MOST_OPENS: usize = 1024;

/// Appends to a journal.
///
/// If there is no room, the older half of the events is forgotten, but for the opens of files that are open still: the
/// others could not be given to a handler again without them.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
    open: RefCell<BTreeMap<ArenaId, Vec<u64>>>,
}

impl<M: Deref<Target = [AtomicU64]>> Writer<M> {
    /// Over the memory of a journal; `None` if it is too short.
    pub fn new(memory: M) -> Option<Self> {
        (memory.len() >= WORDS).then(|| Writer { memory, open: RefCell::default() })
    }

    /// Appends an event. One that begins something counts as under way until [`finished`](Self::finished).
    pub fn append(&self, event: &Event) {
        let words = event.encoded();
        let Some(used) = self.room_for(words.len(), event.begins()) else { return };
        self.store(used, words.iter().copied());
        self.memory[USED].store((used + words.len()) as u64, Ordering::Release);
        if event.begins() {
            self.memory[ACTIVE].store(1, Ordering::Release);
        }
        self.keep_in_mind(event, words);
    }

    /// Appends an [`Event::Read`], whose bytes go straight into the memory: there may be many.
    pub fn append_read(&self, address: u64, bytes: &[u8]) {
        let kept = &bytes[..bytes.len().min(MOST_KEPT)];
        let head = head_of_read(address, kept);
        let data = kept.len().div_ceil(8);
        let Some(used) = self.room_for(head.len() + data, false) else { return };
        self.store(used, head);
        self.store(used + head.len(), words_of(kept));
        self.memory[USED].store((used + head.len() + data) as u64, Ordering::Release);
    }

    /// Where an event of so many words goes: `None` if there is no room, which is noted.
    fn room_for(&self, words: usize, begins: bool) -> Option<usize> {
        let mut used = self.used();
        if used + words > ROOM {
            used = self.make_room(used, words, begins);
        }
        if used + words > ROOM {
            self.miss(READS);
            return None;
        }
        Some(used)
    }

    /// The handler has done what the last event began.
    pub fn finished(&self) {
        self.memory[ACTIVE].store(0, Ordering::Release);
    }

    /// The memory.
    pub fn memory(&self) -> &[AtomicU64] {
        &self.memory
    }

    fn used(&self) -> usize {
        (self.memory[USED].load(Ordering::Relaxed) as usize).min(ROOM)
    }

    fn miss(&self, what: u64) {
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

    fn keep_in_mind(&self, event: &Event, words: Vec<u64>) {
        match event {
            Event::Open { file, .. } => drop(self.open.borrow_mut().insert(*file, words)),
            Event::Closed { file } => drop(self.open.borrow_mut().remove(file)),
            _ => {}
        }
    }

    /// Opens of files that are open, without those that the log tells of from `cut` on.
    fn opens_before(&self, cut: usize, used: usize) -> Vec<u64> {
        let told: BTreeSet<u64> = events(used - cut, |at| self.logged(cut + at))
            .filter(|(at, kind)| *kind == OPEN && cut + at + 1 < used)
            .map(|(at, _)| self.logged(cut + at + 1))
            .collect();
        let open = self.open.borrow();
        let earlier = open.iter().filter(|(file, _)| !told.contains(&file.number())).map(|(_, words)| words);
        earlier.rev().take(MOST_OPENS).flatten().copied().collect()
    }

    /// Forgets older events. What is under way is kept, unless something new begins. Returns the words in use.
    fn make_room(&self, used: usize, needed: usize, begins: bool) -> usize {
        let cut = cut(used, |at| self.logged(at), begins);
        if cut == 0 {
            return used;
        }
        let opens = self.opens_before(cut, used);
        let all = opens.len() + (used - cut);
        let rest = if all + needed <= ROOM || !begins { used - cut } else { 0 };
        let kept = opens.len() + rest;
        if kept > ROOM {
            return used;
        }
        // Nothing that is read in between would make sense.
        self.memory[USED].store(0, Ordering::Release);
        self.shift(cut, opens.len(), rest);
        self.store(0, opens);
        self.memory[USED].store(kept as u64, Ordering::Release);
        self.miss(BEGINNING);
        kept
    }

    /// Moves `count` words of the log, in place: there may be many.
    fn shift(&self, from: usize, to: usize, count: usize) {
        let one = |at: usize| self.memory[LOG + to + at].store(self.logged(from + at), Ordering::Relaxed);
        // In the order in which none is lost.
        if to <= from { (0..count).for_each(one) } else { (0..count).rev().for_each(one) }
    }
}

/// The places of the events of a log of `used` words, each with its kind. Only the first word of each is looked at.
fn events(used: usize, word: impl Fn(usize) -> u64) -> impl Iterator<Item = (usize, u64)> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let place = next;
        let (kind, length) = (place < used).then(|| head(word(place)))?;
        next = place.saturating_add(1).saturating_add(length);
        Some((place, kind))
    })
}

/// Where the younger half of the log begins: with an event that begins something. If none does there, all goes, or all
/// up to the last that does.
fn cut(used: usize, word: impl Fn(usize) -> u64, all: bool) -> usize {
    let beginnings = || events(used, &word).filter(|(_, kind)| is_beginning(*kind)).map(|(at, _)| at);
    let in_half = beginnings().find(|&at| at >= used / 2);
    in_half.unwrap_or_else(|| if all { used } else { beginnings().last().unwrap_or_default() })
}
