//! What workers count, added up.
//!
//! The counts stand in the slots: allegations, which are worth as much as the worker that wrote them. Nothing is
//! decided by them.

use crate::latency::{BUCKETS, Histogram};
use crate::slot::{self, Kind};
use serde::ser::{SerializeMap, Serializer};

/// Counts of some workers of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Notifications taken, and opens of handlers' devices.
    pub notifications: u64,
    /// The same by what they were about. One that was just taken may be missing.
    #[serde(rename = "notifications_by_kind")]
    pub kinds: Kinds,
    /// Records appended.
    pub records: u64,
    /// Records lost, as the area was full.
    pub records_lost: u64,
    /// Nanoseconds of all notifications that were timed.
    pub latency_sum_ns: u64,
    /// How long they took.
    pub latency: Histogram,
}

/// Notifications by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(pub [u64; Kind::COUNT]);

impl Kinds {
    /// Each kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.into_iter().zip(self.0)
    }
}

/// As a map from name to count.
impl serde::Serialize for Kinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Kind::COUNT))?;
        for (kind, count) in self.iter() {
            map.serialize_entry(kind.name(), &count)?;
        }
        map.end()
    }
}

/// Words of an encoded tally.
pub const WORDS: usize = 4 + Kind::COUNT + BUCKETS;

impl Tally {
    /// Adds what a slot alleges; `word` reads one of its words. A sum stops at the largest number.
    pub fn add(&mut self, word: impl Fn(usize) -> u64) {
        let Tally { notifications, kinds, records, records_lost, latency_sum_ns, latency } = self;
        let add = |sum: &mut u64, at| *sum = sum.saturating_add(word(at));
        add(notifications, slot::TAKEN);
        add(records, slot::RECORDS);
        add(records_lost, slot::LOST);
        add(latency_sum_ns, slot::LATENCY_SUM);
        kinds.0.iter_mut().zip(slot::KINDS..).for_each(|(sum, at)| add(sum, at));
        latency.0.iter_mut().zip(slot::LATENCY..).for_each(|(sum, at)| add(sum, at));
    }

    /// As words.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        let Tally { notifications, kinds, records, records_lost, latency_sum_ns, latency } = *self;
        [notifications, records, records_lost, latency_sum_ns].into_iter().chain(kinds.0).chain(latency.0)
    }

    /// From words; those that are missing are 0.
    #[must_use]
    pub fn from_words(words: &[u64]) -> Self {
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        Tally {
            notifications: word(0),
            records: word(1),
            records_lost: word(2),
            latency_sum_ns: word(3),
            kinds: Kinds(std::array::from_fn(|at| word(4 + at))),
            latency: Histogram(std::array::from_fn(|at| word(4 + Kind::COUNT + at))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_of_a_word_of_its_own() {
        let mut tally = Tally::default();
        tally.add(|at| at as u64);
        tally.add(|at| at as u64 * 1000);
        assert_eq!(tally.notifications, 1001 * slot::TAKEN as u64);
        assert_eq!(tally.records_lost, 1001 * slot::LOST as u64);
        assert_eq!(tally.kinds.0[Kind::Trace as usize], 1001 * (slot::KINDS + Kind::Trace as usize) as u64);
        let words: Vec<u64> = tally.words().collect();
        assert_eq!(words.len(), WORDS);
        assert_eq!(words.iter().collect::<std::collections::HashSet<_>>().len(), WORDS);
        assert_eq!(Tally::from_words(&words), tally);
    }

    #[test]
    fn a_slot_that_lies_does_not_overflow() {
        let mut tally = Tally::default();
        tally.add(|_| u64::MAX);
        tally.add(|_| u64::MAX);
        assert!(tally.words().all(|word| word == u64::MAX));
    }
}
