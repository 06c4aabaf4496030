//! The words in which a worker shows what it has in flight: one page, written by the worker, read by the broker.
//!
//! `NOTIF_RECV` writes straight into the slot, so there is no moment in which a worker holds a notification that the
//! slot does not show. All of it is an allegation: a worker that was taken over can write anything, at any time. The
//! broker reads each word once, checks an id with `NOTIF_ID_VALID` and counts on nothing else.

/// Bytes of a slot.
pub const BYTES: usize = 4096;
/// Words of a slot.
pub const WORDS: usize = BYTES / 8;

/// Word: what the worker is doing, a [`Phase`].
pub const PHASE: usize = 0;
/// Word: notifications taken so far.
pub const TAKEN: usize = 1;
/// Word: records appended so far.
pub const RECORDS: usize = 2;
/// Word: records lost so far, as the area was full.
pub const LOST: usize = 3;
/// First of the words that `NOTIF_RECV` fills: `struct seccomp_notif`, 80 bytes. All zero while nothing is in flight.
pub const NOTIFICATION: usize = 8;
/// Word within the slot: `seccomp_notif.id`.
pub const ID: usize = NOTIFICATION;
/// Word within the slot: `seccomp_notif.pid` in the low, `flags` in the high half (little endian as on all targets).
pub const PID: usize = NOTIFICATION + 1;
/// Word within the slot: system call number in the low half, architecture in the high.
pub const CALL: usize = NOTIFICATION + 2;
/// Words of `struct seccomp_notif`.
pub const NOTIFICATION_WORDS: usize = 10;

/// What a worker says it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Phase {
    /// Waiting in `NOTIF_RECV`.
    Waiting = 0,
    /// Handling what the slot shows.
    Handling = 1,
    /// Waiting for its reader.
    Reading = 2,
    /// Waiting for the broker.
    Asking = 3,
}

impl Phase {
    /// The phase that a word of a slot alleges.
    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        [Phase::Waiting, Phase::Handling, Phase::Reading, Phase::Asking]
            .into_iter()
            .find(|p| *p as u64 == word)
    }
}
