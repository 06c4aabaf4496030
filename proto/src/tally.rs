//! Sums of the workers' counters.
//!
//! The counters are in the workers' slots, so they are allegations: only as trustworthy as the worker that
//! wrote them. No decision depends on them.

use crate::latency::{BUCKETS, Histogram};
use crate::slot::{self, Kind};
use serde::ser::{SerializeMap, Serializer};

/// Counters of some workers of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Notifications received, and opens of handlers' devices.
    pub notifications: u64,
    /// The same, by kind. The count of a notification that was just received may lag behind.
    #[serde(rename = "notifications_by_kind")]
    pub kinds: Kinds,
    /// Coverage records stored.
    pub records: u64,
    /// Coverage records lost because the area was full.
    pub records_lost: u64,
    /// Points not recorded because a bitmap of `UNIQUE_ENABLE` had them already.
    pub records_suppressed: u64,
    /// Sum of the times of all timed notifications, in nanoseconds.
    pub latency_sum_ns: u64,
    /// Distribution of these times.
    pub latency: Histogram,
}

/// Number of notifications of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(pub [u64; Kind::COUNT]);

impl Kinds {
    /// Each kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.into_iter().zip(self.0)
    }
}

/// As a map from kind name to count.
impl serde::Serialize for Kinds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Kind::COUNT))?;
        for (kind, count) in self.iter() {
            map.serialize_entry(kind.name(), &count)?;
        }
        map.end()
    }
}

/// Size of an encoded tally in words.
pub const WORDS: usize = 5 + Kind::COUNT + BUCKETS;

impl Tally {
    /// Adds the counters of one slot, of which `word` reads a word by index. Sums saturate.
    pub fn add(&mut self, word: impl Fn(usize) -> u64) {
        let Tally {
            notifications,
            kinds,
            records,
            records_lost,
            records_suppressed,
            latency_sum_ns,
            latency,
        } = self;
        let add = |sum: &mut u64, at| *sum = sum.saturating_add(word(at));
        add(notifications, slot::TAKEN);
        add(records, slot::RECORDS);
        add(records_lost, slot::LOST);
        add(records_suppressed, slot::SUPPRESSED);
        add(latency_sum_ns, slot::LATENCY_SUM);
        kinds.0.iter_mut().zip(slot::KINDS..).for_each(|(sum, at)| add(sum, at));
        latency.0.iter_mut().zip(slot::LATENCY..).for_each(|(sum, at)| add(sum, at));
    }

    /// Encodes the tally as [`WORDS`] words.
    pub fn words(&self) -> impl Iterator<Item = u64> {
        let Tally {
            notifications,
            kinds,
            records,
            records_lost,
            records_suppressed,
            latency_sum_ns,
            latency,
        } = *self;
        [notifications, records, records_lost, records_suppressed, latency_sum_ns]
            .into_iter()
            .chain(kinds.0)
            .chain(latency.0)
    }

    /// Decodes a tally. Missing words are 0.
    #[must_use]
    pub fn from_words(words: &[u64]) -> Self {
        let word = |at: usize| words.get(at).copied().unwrap_or_default();
        Tally {
            notifications: word(0),
            records: word(1),
            records_lost: word(2),
            records_suppressed: word(3),
            latency_sum_ns: word(4),
            kinds: Kinds(std::array::from_fn(|at| word(5 + at))),
            latency: Histogram(std::array::from_fn(|at| word(5 + Kind::COUNT + at))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_reads_its_own_word() {
        let mut tally = Tally::default();
        tally.add(|at| at as u64);
        tally.add(|at| at as u64 * 1000);
        assert_eq!(tally.notifications, 1001 * slot::TAKEN as u64);
        assert_eq!(tally.records_lost, 1001 * slot::LOST as u64);
        assert_eq!(tally.records_suppressed, 1001 * slot::SUPPRESSED as u64);
        assert_eq!(tally.kinds.0[Kind::Trace as usize], 1001 * (slot::KINDS + Kind::Trace as usize) as u64);
        let words: Vec<u64> = tally.words().collect();
        assert_eq!(words.len(), WORDS);
        assert_eq!(words.iter().collect::<std::collections::HashSet<_>>().len(), WORDS);
        assert_eq!(Tally::from_words(&words), tally);
    }

    #[test]
    fn sums_saturate() {
        let mut tally = Tally::default();
        tally.add(|_| u64::MAX);
        tally.add(|_| u64::MAX);
        assert!(tally.words().all(|word| word == u64::MAX));
    }
}
