//! Counts of remote sections.

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Why the records of a section were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum DropReason {
    /// The instance was disabled while the section was open.
    Disabled = 0,
    /// The owner of the instance exited while the section was open.
    Exited = 1,
    /// The instance was released while the section was open.
    Released = 2,
    /// The area had no room for any record.
    Full = 3,
    /// There was no memory for the buffer.
    Memory = 4,
}

impl DropReason {
    /// Number of reasons.
    pub const COUNT: usize = 5;
    /// All reasons, each at its number.
    pub const ALL: [DropReason; DropReason::COUNT] = [
        DropReason::Disabled,
        DropReason::Exited,
        DropReason::Released,
        DropReason::Full,
        DropReason::Memory,
    ];

    /// Name in reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Disabled => "disabled",
            DropReason::Exited => "exited",
            DropReason::Released => "released",
            DropReason::Full => "full",
            DropReason::Memory => "memory",
        }
    }
}

/// Size of [`Sections`] in words.
pub const WORDS: usize = 3 + DropReason::COUNT;

/// Counts of remote sections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sections {
    /// Sections that were started with a handle in use.
    pub started: u64,
    /// Records that sections appended.
    pub records: u64,
    /// Records for which an area had no room when a section stopped.
    pub lost: u64,
    /// Sections whose records were dropped, by reason.
    pub dropped: Dropped,
}

/// Dropped sections by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped(pub [u64; DropReason::COUNT]);

impl Dropped {
    /// Counts a section.
    pub fn count(&mut self, reason: DropReason) {
        self.0[reason as usize] += 1;
    }

    /// The number of sections that were dropped for this reason.
    #[must_use]
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// The number of sections that were dropped.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl Serialize for Dropped {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(DropReason::COUNT))?;
        for reason in DropReason::ALL {
            map.serialize_entry(reason.name(), &self.of(reason))?;
        }
        map.end()
    }
}

impl Sections {
    /// The words of these counts.
    #[must_use]
    pub fn words(&self) -> [u64; WORDS] {
        let Sections { started, records, lost, dropped: Dropped(dropped) } = *self;
        let mut words = [0; WORDS];
        words[..3].copy_from_slice(&[started, records, lost]);
        words[3..].copy_from_slice(&dropped);
        words
    }

    /// The counts that these words have.
    #[must_use]
    pub fn from_words([started, records, lost, dropped @ ..]: [u64; WORDS]) -> Self {
        Sections { started, records, lost, dropped: Dropped(dropped) }
    }
}
