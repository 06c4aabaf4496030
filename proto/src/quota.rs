//! Limits of a tenant, and counts of how often they were exceeded.
//!
//! A quota is checked before anything is allocated. A request that exceeds it fails with the errno of the
//! kernel for the same shortage.

use crate::Errno;
use serde::ser::{SerializeMap, Serializer};

/// What a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Quota {
    /// Size of one area in bytes.
    Area = 0,
    /// Size of all areas in bytes.
    Total = 1,
    /// KCOV instances and files of handlers' devices that exist at a time.
    Instances = 2,
    /// Remote handles in use at a time.
    Handles = 3,
    /// Number of crash artifacts.
    Artifacts = 4,
    /// Size of all crash artifacts in bytes.
    ArtifactBytes = 5,
    /// Reads and writes of callers' memory on behalf of handlers, per second.
    AssistRate = 6,
    /// Bytes of these reads and writes, per second.
    AssistBytes = 7,
}

impl Quota {
    /// Number of quotas.
    pub const COUNT: usize = 8;
    /// All quotas; each is at the index `self as usize`.
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

    /// Name in reports.
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

    /// Errno for a caller that exceeds the quota. `None` for artifacts, which no caller asks for.
    #[must_use]
    pub fn errno(self) -> Option<Errno> {
        match self {
            Quota::Area | Quota::Total | Quota::Handles => Some(Errno::ENOMEM),
            // As if the allocation for such a copy failed: `memdup_user`, `strndup_user` (mm/util.c).
            Quota::AssistRate | Quota::AssistBytes => Some(Errno::ENOMEM),
            // As `alloc_empty_file` over `fs.file-max` (fs/file_table.c).
            Quota::Instances => Some(Errno::ENFILE),
            Quota::Artifacts | Quota::ArtifactBytes => None,
        }
    }
}

/// How often each quota was exceeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals(pub [u64; Quota::COUNT]);

impl Refusals {
    /// Counts one refusal.
    pub fn count(&mut self, quota: Quota) {
        self.add(quota, 1);
    }

    /// Counts `more` refusals. The sum saturates.
    pub fn add(&mut self, quota: Quota, more: u64) {
        let sum = &mut self.0[quota as usize];
        *sum = sum.saturating_add(more);
    }

    /// Number of refusals of this quota.
    #[must_use]
    pub fn of(&self, quota: Quota) -> u64 {
        self.0[quota as usize]
    }

    /// The sum of both counts.
    #[must_use]
    pub fn and(mut self, other: Refusals) -> Refusals {
        other.iter().for_each(|(quota, more)| self.add(quota, more));
        self
    }

    /// Number of refusals of all quotas.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each quota with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Quota, u64)> + '_ {
        Quota::ALL.into_iter().zip(self.0)
    }
}

/// As a map from quota name to count.
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
    fn each_quota_has_its_own_index_and_name() {
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
