//! Writing a journal, in the worker whose it is.

use super::event::{OPEN, head, is_beginning};
use super::{ACTIVE, BEGINNING, Event, LOG, MISSING, READS, ROOM, USED, WORDS};
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
        let mut used = self.used();
        if used + words.len() > ROOM {
            used = self.make_room(used, words.len(), event.begins());
        }
        if used + words.len() > ROOM {
            return self.miss(READS);
        }
        self.store(used, &words);
        self.memory[USED].store((used + words.len()) as u64, Ordering::Release);
        if event.begins() {
            self.memory[ACTIVE].store(1, Ordering::Release);
        }
        self.keep_in_mind(event, words);
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

    fn store(&self, at: usize, words: &[u64]) {
        for (place, word) in self.memory[LOG + at..].iter().zip(words) {
            place.store(*word, Ordering::Relaxed);
        }
    }

    fn keep_in_mind(&self, event: &Event, words: Vec<u64>) {
        match event {
            Event::Open { file, .. } => drop(self.open.borrow_mut().insert(*file, words)),
            Event::Closed { file } => drop(self.open.borrow_mut().remove(file)),
            _ => {}
        }
    }

    /// Opens of files that are open, without those that `rest` tells of.
    fn opens_before(&self, rest: &[u64]) -> Vec<u64> {
        let told: BTreeSet<u64> = events(rest)
            .filter(|(_, kind)| *kind == OPEN)
            .filter_map(|(at, _)| rest.get(at + 1).copied())
            .collect();
        let open = self.open.borrow();
        let earlier = open.iter().filter(|(file, _)| !told.contains(&file.number())).map(|(_, words)| words);
        earlier.rev().take(MOST_OPENS).flatten().copied().collect()
    }

    /// Forgets older events. What is under way is kept, unless something new begins. Returns the words in use.
    fn make_room(&self, used: usize, needed: usize, begins: bool) -> usize {
        let log: Vec<u64> =
            self.memory[LOG..LOG + used].iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let cut = cut(&log, begins);
        if cut == 0 {
            return used;
        }
        let mut kept = self.opens_before(&log[cut..]);
        if kept.len() + (used - cut) + needed <= ROOM || !begins {
            kept.extend(&log[cut..]);
        }
        if kept.len() > ROOM {
            return used;
        }
        // Nothing that is read in between would make sense.
        self.memory[USED].store(0, Ordering::Release);
        self.store(0, &kept);
        self.memory[USED].store(kept.len() as u64, Ordering::Release);
        self.miss(BEGINNING);
        kept.len()
    }
}

/// The places of the events of a log, each with its kind.
fn events(log: &[u64]) -> impl Iterator<Item = (usize, u64)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (kind, length) = head(*log.get(at)?);
        let place = at;
        at = at.saturating_add(1).saturating_add(length);
        Some((place, kind))
    })
}

/// Where the younger half of the log begins: with an event that begins something. If none does there, all goes, or all
/// up to the last that does.
fn cut(log: &[u64], all: bool) -> usize {
    let beginnings = || events(log).filter(|(_, kind)| is_beginning(*kind)).map(|(at, _)| at);
    let in_half = beginnings().find(|&at| at >= log.len() / 2);
    in_half.unwrap_or_else(|| if all { log.len() } else { beginnings().last().unwrap_or_default() })
}
