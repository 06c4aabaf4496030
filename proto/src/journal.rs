//! The log of one worker, read by the broker after a crash: which calls the handlers had, what they read of
//! the callers' memory, and the stack at the end.
//!
//! A journal is shared memory. The worker writes it and the broker reads it only after the worker's death, so
//! a live worker sends nothing. All of it is an allegation: [`parse`] takes words that were read once, and
//! checks every length.
//!
//! | word | holds |
//! |---|---|
//! | [`USED`] | length of the log in words; stored after the words that it covers |
//! | [`MISSING`] | what the log lacks: bits [`BEGINNING`], [`READS`] |
//! | [`SIGNAL`] | fatal signal, as the worker's own signal handler saw it, or 0; with bit [`FAULTED`] if it has an address |
//! | [`FAULT`] | that address, which may be 0 |
//! | [`FRAMES`] | number of return addresses in [`STACK`] |
//! | [`ACTIVE`] | 1 while a handler works on the last event that began something |
//! | [`FORBIDDEN`] | system call that the jail refused: architecture in the high half, number in the low; or 0 |
//! | [`RESULT`] | state of the crash artifact; written by the broker after the worker's death |
//! | [`STACK`]... | return addresses, innermost first |
//! | [`LOG`]... | events: a word with kind and length, then that many words |

mod event;
mod writer;

pub use event::Event;
pub use writer::JournalWriter;

/// Length of a journal in words.
pub const WORDS: usize = 1 << 15;
/// Index of the word with the length of the log, in words.
pub const USED: usize = 0;
/// Index of the word that says what the log lacks.
pub const MISSING: usize = 1;
/// Index of the word with the fatal signal.
pub const SIGNAL: usize = 2;
/// Index of the word with the fault address.
pub const FAULT: usize = 3;
/// Bit of [`SIGNAL`]: [`FAULT`] holds an address.
pub const FAULTED: u64 = 1 << 32;
/// Index of the word with the number of return addresses.
pub const FRAMES: usize = 4;
/// Index of the word that is 1 while a handler is active.
pub const ACTIVE: usize = 5;
/// Index of the word with the system call that the jail refused.
pub const FORBIDDEN: usize = 6;
/// Index of the word with the state of the crash artifact.
pub const RESULT: usize = 7;
/// Index of the first return address.
pub const STACK: usize = 8;
/// Most return addresses that are kept.
pub const MAX_FRAMES: usize = 64;
/// Index of the first word of the log.
pub const LOG: usize = 128;
/// Bit of [`MISSING`]: the oldest events were dropped to make room.
pub const BEGINNING: u64 = 1;
/// Bit of [`MISSING`]: some memory that a handler read did not fit.
pub const READS: u64 = 2;
/// Length of the log in words.
const ROOM: usize = WORDS - LOG;
/// Most bytes that are kept of one read. Of a longer read, only the beginning is kept.
pub const MAX_READ_BYTES: usize = 64 * 1024;

/// Exit status of a worker program that has replayed all events without a crash.
pub const REPLAY_COMPLETED: u8 = 117;

/// Most bytes of encoded events: a full journal as bincode writes it.
const MAX_FILE_BYTES: usize = 16 * WORDS;

/// Encodes events for the file of a crash artifact.
///
/// # Errors
/// If they need more bytes than the events of a full journal.
pub fn encode(events: &[Event]) -> Result<Vec<u8>, bincode::error::EncodeError> {
    bincode::serde::encode_to_vec(events, bincode::config::standard().with_limit::<MAX_FILE_BYTES>())
}

/// Decodes the output of [`encode`].
///
/// # Errors
/// If the bytes are malformed, or more bytes follow the events.
pub fn decode(bytes: &[u8]) -> Result<Vec<Event>, bincode::error::DecodeError> {
    let config = bincode::config::standard().with_limit::<MAX_FILE_BYTES>();
    match bincode::serde::decode_from_slice(bytes, config)? {
        (events, used) if used == bytes.len() => Ok(events),
        _ => Err(bincode::error::DecodeError::Other("trailing bytes after the events")),
    }
}

/// The contents of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// What handlers did, oldest first. The last one may be unfinished, see [`active`](Self::active).
    pub events: Vec<Event>,
    /// Older events were dropped.
    pub truncated: bool,
    /// Some of the memory that handlers read is missing.
    pub reads_missing: bool,
    /// A handler was still working on the last event that began something.
    pub active: bool,
    /// Signal that ended the worker, if its own signal handler saw it; else 0.
    pub signal: i32,
    /// Fault address, if the signal has one.
    pub fault: Option<u64>,
    /// Architecture (`AUDIT_ARCH_*`) and number of the system call that the jail refused, if the worker died
    /// of one.
    pub forbidden: Option<(u32, i32)>,
    /// Return addresses, innermost first.
    pub stack: Vec<u64>,
}

/// Decodes the word [`FORBIDDEN`] into architecture and number; `None` if no call was refused.
#[must_use]
pub fn forbidden(word: u64) -> Option<(u32, i32)> {
    // No architecture is 0.
    Some(((word >> 32) as u32, word as i32)).filter(|(arch, _)| *arch != 0)
}

/// Parses the words of a journal. Stops at the first malformed event.
#[must_use]
pub fn parse(words: &[u64]) -> Journal {
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let frames = (word(FRAMES) as usize).min(MAX_FRAMES);
    let log = words.get(LOG..).unwrap_or_default();
    let mut left = &log[..(word(USED) as usize).min(log.len())];
    let mut events = Vec::new();
    while let Some((head, rest)) = left.split_first() {
        let (kind, length) = event::head(*head);
        let Some((body, next)) = rest.split_at_checked(length) else { break };
        let Some(event) = Event::from_words(kind, body) else { break };
        events.push(event);
        left = next;
    }
    Journal {
        events,
        truncated: word(MISSING) & BEGINNING != 0,
        reads_missing: word(MISSING) & READS != 0,
        active: word(ACTIVE) != 0,
        signal: word(SIGNAL) as i32,
        fault: (word(SIGNAL) & FAULTED != 0).then(|| word(FAULT)),
        forbidden: forbidden(word(FORBIDDEN)),
        stack: words.get(STACK..STACK + frames).unwrap_or_default().to_vec(),
    }
}
