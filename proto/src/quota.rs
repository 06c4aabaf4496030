//! The quotas of a tenant: what each of them bounds, what operators call it, and how often it was exceeded.
//!
//! The table below is the only place that names a quota. The option of `kcov-broker run`, the key in a
//! configuration, their help, the manual pages, the label in metrics, the names in reports and the log of
//! refusals all follow from its row. A new quota is a new row, and a check where the resource is allocated.
//!
//! Quotas are checked before anything is allocated. A request beyond one gets the errno that the kernel
//! returns when it runs out of the same resource.

use crate::Errno;
use serde::ser::{SerializeMap, Serializer};
use std::time::Duration;

/// How operators write the value of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, with a suffix if they like.
    Bytes,
    /// A number.
    Count,
    /// A time. The value is in nanoseconds.
    Time,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name in reports and metrics.
    pub name: &'static str,
    /// Option of `kcov-broker run`, with its dashes.
    pub option: &'static str,
    /// Key in the `quotas` section of a tenant.
    pub key: &'static str,
    /// How the value is written.
    pub unit: Unit,
    /// Value if the operator gives none.
    pub default: u64,
    /// Errno of a refused call; `None` if no call is refused.
    pub errno: Option<Errno>,
    /// What is bounded and what happens beyond the bound, for help and manual pages.
    pub purpose: &'static str,
    /// Options of `kcov-broker run` without which the quota has no effect.
    pub requires: &'static [&'static str],
    /// Reads the value.
    pub get: fn(&Quotas) -> u64,
    /// Sets the value.
    pub set: fn(&mut Quotas, u64),
}

/// The type of a field of [`Quotas`].
trait Value {
    fn from_number(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Value for u64 {
    fn from_number(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }
}

impl Value for usize {
    fn from_number(number: u64) -> Self {
        usize::try_from(number).unwrap_or(usize::MAX)
    }

    fn number(&self) -> u64 {
        *self as u64
    }
}

impl Value for Duration {
    fn from_number(number: u64) -> Self {
        Duration::from_nanos(number)
    }

    fn number(&self) -> u64 {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX)
    }
}

const PREFIX: &str = "--max-";

/// The option of the quota `name`: `--max-` and the name, with dashes for underscores. `N` is its length.
const fn option<const N: usize>(name: &str) -> [u8; N] {
    let mut text = [b'-'; N];
    let (prefix, name) = (PREFIX.as_bytes(), name.as_bytes());
    let mut at = 0;
    while at < N {
        if at < prefix.len() {
            text[at] = prefix[at];
        } else if name[at - prefix.len()] != b'_' {
            text[at] = name[at - prefix.len()];
        }
        at += 1;
    }
    text
}

const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("names of quotas are ASCII"),
    }
}

macro_rules! quotas {
    (@row $field:ident, $default:expr, $unit:ident, $errno:expr, $purpose:literal, [$($requires:literal)?]) => {{
        const NAME: &str = stringify!($field);
        const OPTION: [u8; PREFIX.len() + NAME.len()] = option(NAME);
        Row {
            name: NAME,
            option: text(&OPTION),
            key: text(OPTION.split_at(PREFIX.len()).1),
            unit: Unit::$unit,
            default: $default,
            errno: $errno,
            purpose: $purpose,
            requires: &[$($requires)?],
            get: |quotas| quotas.$field.number(),
            set: |quotas, number| quotas.$field = Value::from_number(number),
        }
    }};
    (
        refused { $($quota:ident $field:ident: $type:ty, $unit:ident = $default:expr, $errno:expr,
            $purpose:literal $(, requires $requires:literal)?;)* }
        delayed { $($slow:ident: $slow_type:ty, $slow_unit:ident = $slow_default:expr, $slow_purpose:literal;)* }
    ) => {
        /// A quota beyond which something is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum Quota {
            $(#[doc = $purpose] $quota),*
        }

        impl Quota {
            /// All of them, in the order of the table.
            pub const ALL: [Quota; Quota::COUNT] = [$(Quota::$quota),*];
            /// How many there are.
            pub const COUNT: usize = [$(stringify!($quota)),*].len();
        }

        /// The values of all quotas of a tenant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Quotas {
            $(#[doc = $purpose] pub $field: $type,)*
            $(#[doc = $slow_purpose] pub $slow: $slow_type,)*
        }

        impl Default for Quotas {
            fn default() -> Self {
                Quotas {
                    $($field: Value::from_number($default),)*
                    $($slow: Value::from_number($slow_default),)*
                }
            }
        }

        /// The table: first the rows of [`Quota::ALL`], then those beyond which workers are delayed.
        pub const ROWS: [Row; [$(stringify!($field),)* $(stringify!($slow)),*].len()] = [
            $(quotas!(@row $field, $default, $unit, $errno, $purpose, [$($requires)?]),)*
            $(quotas!(@row $slow, $slow_default, $slow_unit, None, $slow_purpose, []),)*
        ];
    };
}

quotas! {
    refused {
        Area area: u64, Bytes = 2 << 30, Some(Errno::ENOMEM),
            "Maximum size of one area; a larger KCOV_INIT_TRACE fails with ENOMEM";
        Total total: u64, Bytes = 16 << 30, Some(Errno::ENOMEM),
            "Maximum size of all areas together; a KCOV_INIT_TRACE beyond it fails with ENOMEM";
        // As `kzalloc` in `kcov_open`. An open of the KCOV device itself is not counted.
        Instances instances: usize, Count = 65_536, Some(Errno::ENOMEM),
            "Maximum number of initialised KCOV devices and open files of handlers' devices, and at most half of the hard \
             limit of descriptors, which root raises; a further KCOV_INIT_TRACE or open fails with ENOMEM";
        // One for each instance. A call takes 257 at most.
        Handles handles: usize, Count = 65_536, Some(Errno::ENOMEM),
            "Maximum number of remote handles in use by all instances; a further KCOV_REMOTE_ENABLE fails with ENOMEM";
        Artifacts artifacts: usize, Count = 1000, None,
            "Maximum number of artifacts in their directory, including those of earlier runs; further crashes are only \
             counted", requires "artifacts";
        ArtifactBytes artifact_bytes: u64, Bytes = 1 << 30, None,
            "Maximum size of all artifacts together; further crashes are only counted", requires "artifacts";
        // Far beyond what one worker can ask for: 30,000 a second, and 0.2 GiB, on a busy machine. The errno
        // is that of the allocation which the kernel makes for such a copy (`memdup_user`, `strndup_user`).
        AssistRate assist_rate: u64, Count = 1_000_000, Some(Errno::ENOMEM),
            "Maximum number of reads and writes of the command's memory by handlers per second, of at most 64 KiB each; \
             further ones fail with ENOMEM";
        AssistBytes assist_bytes: u64, Bytes = 8 << 30, Some(Errno::ENOMEM),
            "Maximum number of bytes of the command's memory that handlers read and write per second; further accesses \
             fail with ENOMEM";
    }
    delayed {
        // Costs a tenth of a processor, and is more than a search for crashes finds in the long run.
        crash_rate: u64, Count = 32,
            "Maximum number of worker crashes per second without a penalty; each further crash delays the next worker. \
             With 0, every crash does";
        restart_delay: Duration, Time = 1_000_000_000,
            "Maximum delay of the next worker after repeated crashes; at most half of the deadline";
    }
}

impl Quota {
    /// Its row of the table.
    #[must_use]
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Name in reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Errno of a refused call; `None` if no call is refused.
    #[must_use]
    pub fn errno(self) -> Option<Errno> {
        self.row().errno
    }
}

impl Quotas {
    /// The value of a quota.
    #[must_use]
    pub fn bound(&self, quota: Quota) -> u64 {
        (quota.row().get)(self)
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

    /// Refusals of one quota.
    #[must_use]
    pub fn of(&self, quota: Quota) -> u64 {
        self.0[quota as usize]
    }

    /// The sums by quota.
    #[must_use]
    pub fn and(mut self, other: Refusals) -> Refusals {
        other.iter().for_each(|(quota, more)| self.add(quota, more));
        self
    }

    /// Refusals of all quotas.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Each quota with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Quota, u64)> + '_ {
        Quota::ALL.into_iter().zip(self.0)
    }
}

/// Serialized as a map from name to count.
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
    fn names_are_unique_and_quotas_are_numbered_in_order() {
        assert!(Quota::ALL.into_iter().enumerate().all(|(at, quota)| at == quota as usize));
        assert_eq!(ROWS.map(|row| row.name).into_iter().collect::<HashSet<_>>().len(), ROWS.len());
    }

    #[test]
    fn option_and_key_follow_from_the_name() {
        let row = Quota::ArtifactBytes.row();
        assert_eq!(
            (row.name, row.option, row.key),
            ("artifact_bytes", "--max-artifact-bytes", "artifact-bytes")
        );
        for row in ROWS {
            assert_eq!(row.key, row.name.replace('_', "-"));
            assert_eq!(row.option, format!("--max-{}", row.key));
        }
    }

    #[test]
    fn a_row_reads_and_sets_only_its_own_value() {
        for row in ROWS {
            let mut quotas = Quotas::default();
            (row.set)(&mut quotas, 7);
            for other in ROWS {
                let expected = if other.name == row.name { 7 } else { other.default };
                assert_eq!((other.get)(&quotas), expected, "{} {}", row.name, other.name);
            }
        }
    }

    #[test]
    fn refusals_add_up_without_overflow() {
        let mut refusals = Refusals::default();
        refusals.count(Quota::Handles);
        refusals.add(Quota::Area, 2);
        let both = refusals.and(refusals);
        assert_eq!((both.of(Quota::Handles), both.of(Quota::Area), both.sum()), (2, 4, 6));
        let full = Refusals([u64::MAX; Quota::COUNT]);
        assert_eq!((full.and(full), full.sum()), (full, u64::MAX));
    }
}
