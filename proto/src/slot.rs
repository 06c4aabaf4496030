//! The words in which a worker shows what it has in flight: one page, written by the worker, read by the broker.
//!
//! `NOTIF_RECV` writes straight into the slot, so there is no moment in which a worker holds a notification that the
//! slot does not show. All of it is an allegation: a worker that was taken over can write anything, at any time. The
//! broker reads each word once, checks an id with `NOTIF_ID_VALID` and counts on nothing else.

use crate::latency;

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
/// Word, set by the broker before the worker starts: of how many notifications one is timed, besides the
/// first so many; 0 for none.
pub const TIMED: usize = 4;
/// Word: id of the notification that may be handled once more from its beginning, by another worker: idempotent
/// handlers alone have it, and nothing was done for it that its caller can see. 0 if there is none.
pub const REPEATABLE: usize = 5;
/// Word: how often a notification was of another thread than the one before.
pub const CHANGES: usize = 6;
/// First of the words that `NOTIF_RECV` fills: `struct seccomp_notif`, 80 bytes. All zero while nothing is in flight.
pub const NOTIFICATION: usize = 8;
/// Word within the slot: `seccomp_notif.id`.
pub const ID: usize = NOTIFICATION;
/// Word within the slot: `seccomp_notif.pid` in the low, `flags` in the high half (little endian as on all targets).
pub const PID: usize = NOTIFICATION + 1;
/// Word within the slot: system call number in the low half, architecture in the high.
pub const CALL: usize = NOTIFICATION + 2;
/// First of the words within the slot with `seccomp_notif.data.args`.
pub const ARGUMENTS: usize = NOTIFICATION + 4;
/// Words of `struct seccomp_notif`.
pub const NOTIFICATION_WORDS: usize = 10;
/// First of [`RECENT_WORDS`] words: the threads that were served, the one after change `n` at `n % RECENT_WORDS`. 0 if
/// there was none.
pub const RECENT: usize = 20;
/// See [`RECENT`].
pub const RECENT_WORDS: usize = 8;
/// First of the words that count notifications by [`Kind`].
pub const KINDS: usize = 32;
/// Word: points that were not recorded so far, as the bitmap of `UNIQUE_ENABLE` had them already.
pub const SUPPRESSED: usize = 41;
/// Word: nanoseconds that all timed notifications took together.
pub const LATENCY_SUM: usize = 40;
/// First of the words that count timed notifications by how long they took, see [`latency`].
pub const LATENCY: usize = 64;

const _: () = assert!(NOTIFICATION + NOTIFICATION_WORDS <= RECENT && RECENT + RECENT_WORDS <= KINDS);
const _: () = assert!(
    KINDS + Kind::COUNT <= LATENCY_SUM && SUPPRESSED < LATENCY && LATENCY + latency::BUCKETS <= WORDS
);

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

/// What a notification is about: by what serves it, not by what comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Kind {
    /// An open of a file, which may be the KCOV device.
    Open = 0,
    /// A request on a descriptor, which may be a KCOV request.
    Ioctl = 1,
    /// A mapping of a file, which may be an area.
    Mmap = 2,
    /// An `execve`, which may hand an instance on.
    Exec = 3,
    /// A call that a handler served.
    Handler = 4,
    /// An open of a handler's device.
    HandlerOpen = 5,
    /// A call that is recorded and left to the kernel.
    Trace = 6,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All, each at its number.
    pub const ALL: [Kind; Kind::COUNT] =
        [Kind::Open, Kind::Ioctl, Kind::Mmap, Kind::Exec, Kind::Handler, Kind::HandlerOpen, Kind::Trace];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Open => "open",
            Kind::Ioctl => "ioctl",
            Kind::Mmap => "mmap",
            Kind::Exec => "exec",
            Kind::Handler => "handler",
            Kind::HandlerOpen => "handler_open",
            Kind::Trace => "trace",
        }
    }
}
