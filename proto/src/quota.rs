//! What a tenant may have at most, and how often it asked for more.
//!
//! A quota is looked at before anything is allocated, and what is over it gets the errno that the kernel gives where it
//! has no more of the same.

use crate::Errno;
use serde::ser::{SerializeMap, Serializer};

/// What a quota bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Quota {
    /// Bytes of one area.
    Area = 0,
    /// Bytes of all areas.
    Total = 1,
    /// Instances that exist at a time, and files of handlers' devices.
    Instances = 2,
    /// Remote handles that are taken at a time.
    Handles = 3,
    /// Artifacts of crashes.
    Artifacts = 4,
    /// Bytes of those.
    ArtifactBytes = 5,
    /// Reads and writes of callers' memory for handlers, a second.
    AssistRate = 6,
    /// Bytes of those, a second.
    AssistBytes = 7,
}

impl Quota {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// All, each at its number.
    pub const ALL: [Quota; Quota::COUNT] = [
        Quota::Area,
        Quota::Total,
        Quota::Instances,
        Quota::Handles,
        Quota::Artifacts,
        Quota::ArtifactBytes,
        Quota::AssistRate,
        Quota::AssistBytes,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Quota::Area => "area",
            Quota::Total => "total",
            Quota::Instances => "instances",
            Quota::Handles => "handles",
            Quota::Artifacts => "artifacts",
            Quota::ArtifactBytes => "artifact_bytes",
            Quota::AssistRate => "assist_rate",
            Quota::AssistBytes => "assist_bytes",
        }
    }

    /// What a caller gets who is over it. Of artifacts no caller knows.
    #[must_use]
    pub fn errno(self) -> Option<Errno> {
        match self {
            Quota::Area | Quota::Total | Quota::Handles => Some(Errno::ENOMEM),
            // Of the allocation that such a copy is for: `memdup_user`, `strndup_user`.
            Quota::AssistRate | Quota::AssistBytes => Some(Errno::ENOMEM),
            // `get_empty_filp` over `fs.file-max`.
            Quota::Instances => Some(Errno::ENFILE),
            Quota::Artifacts | Quota::ArtifactBytes => None,
        }
    }
}

/// How often each quota was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals(pub [u64; Quota::COUNT]);

impl Refusals {
    /// Counts one more.
    pub fn count(&mut self, quota: Quota) {
        self.add(quota, 1);
    }

    /// Counts so many more; a sum stops at the largest number.
    pub fn add(&mut self, quota: Quota, more: u64) {
        let sum = &mut self.0[quota as usize];
        *sum = sum.saturating_add(more);
    }

    /// How often this one was met.
    #[must_use]
    pub fn of(&self, quota: Quota) -> u64 {
        self.0[quota as usize]
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Refusals) -> Refusals {
        other.iter().for_each(|(quota, more)| self.add(quota, more));
        self
    }

    /// How often any of them was.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each quota with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Quota, u64)> + '_ {
        Quota::ALL.into_iter().zip(self.0)
    }
}

/// As a map from name to count.
impl serde::Serialize for Refusals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Quota::COUNT))?;
        for (quota, count) in self.iter() {
            map.serialize_entry(quota.name(), &count)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_is_at_its_number_and_has_a_name_of_its_own() {
        assert!(Quota::ALL.into_iter().enumerate().all(|(at, quota)| at == quota as usize));
        assert_eq!(Quota::ALL.map(Quota::name).into_iter().collect::<HashSet<_>>().len(), Quota::COUNT);
    }

    #[test]
    fn counts_add_up_and_do_not_overflow() {
        let mut refusals = Refusals::default();
        refusals.count(Quota::Handles);
        refusals.add(Quota::Area, 2);
        let both = refusals.and(refusals);
        assert_eq!((both.of(Quota::Handles), both.of(Quota::Area), both.sum()), (2, 4, 6));
        let full = Refusals([u64::MAX; Quota::COUNT]);
        assert_eq!((full.and(full), full.sum()), (full, u64::MAX));
    }
}
