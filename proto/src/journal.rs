//! What a worker leaves for whoever asks why it died: the calls that its handlers had, what they read of their callers'
//! memory, and where it was in the end.
//!
//! The journal is memory that a worker writes and the broker reads after the worker's death, so that nothing has to be
//! sent while it lives. All of it is an allegation: [`parse`] takes words that were read once and believes no length.
//!
//! | word | holds |
//! |---|---|
//! | [`USED`] | words of the log, stored after what they hold |
//! | [`MISSING`] | what is not in the log: [`BEGINNING`], [`READS`] |
//! | [`SIGNAL`] | signal that the worker's own handler saw, or 0; with [`FAULTED`] if it was about an address |
//! | [`FAULT`] | that address, which may be 0 |
//! | [`FRAMES`] | how many return addresses follow, the innermost first |
//! | [`ACTIVE`] | 1 while a handler is at what the last event began |
//! | [`FORBIDDEN`] | call that the jail forbade it: architecture and number; or 0 |
//! | [`RESULT`] | what became of the artifact, for the broker; written after the worker's death |
//! | [`STACK`]... | they |
//! | [`LOG`]... | events: a word of kind and length, then so many words |

mod event;
mod writer;

pub use event::Event;
pub use writer::Writer;

/// Words of a journal.
pub const WORDS: usize = 1 << 15;
/// See the module.
pub const USED: usize = 0;
/// See the module.
pub const MISSING: usize = 1;
/// See the module.
pub const SIGNAL: usize = 2;
/// See the module.
pub const FAULT: usize = 3;
/// Bit of the word [`SIGNAL`].
pub const FAULTED: u64 = 1 << 32;
/// See the module.
pub const FRAMES: usize = 4;
/// See the module.
pub const ACTIVE: usize = 5;
/// See the module.
pub const FORBIDDEN: usize = 6;
/// See the module.
pub const RESULT: usize = 7;
/// See the module.
pub const STACK: usize = 8;
/// Most return addresses.
pub const MOST_FRAMES: usize = 64;
/// See the module.
pub const LOG: usize = 128;
/// Bit of [`MISSING`]: the oldest events made room for others.
pub const BEGINNING: u64 = 1;
/// Bit of [`MISSING`]: some of the memory that the handler read, as it was more than there is room for.
pub const READS: u64 = 2;
/// Words of the log.
const ROOM: usize = WORDS - LOG;
/// Most bytes of one read that are kept; of a longer one, the beginning.
pub const MOST_KEPT: usize = 64 * 1024;

/// Exit status of a worker program that was given the events again and came to their end.
pub const CAME_THROUGH: u8 = 117;

/// Most bytes of encoded events: those of a whole journal, as bincode writes them.
const MOST_BYTES: usize = 16 * WORDS;

/// Encodes events for a file.
///
/// # Errors
/// If there are more than a journal holds.
pub fn encode(events: &[Event]) -> Result<Vec<u8>, bincode::error::EncodeError> {
    bincode::serde::encode_to_vec(events, bincode::config::standard().with_limit::<MOST_BYTES>())
}

/// Decodes what [`encode`] made.
///
/// # Errors
/// If it is nothing of the kind.
pub fn decode(bytes: &[u8]) -> Result<Vec<Event>, bincode::error::DecodeError> {
    let config = bincode::config::standard().with_limit::<MOST_BYTES>();
    match bincode::serde::decode_from_slice(bytes, config)? {
        (events, used) if used == bytes.len() => Ok(events),
        _ => Err(bincode::error::DecodeError::Other("something follows the events")),
    }
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// What was done, the oldest first; the last one is what was under way.
    pub events: Vec<Event>,
    /// Something is missing before them.
    pub truncated: bool,
    /// Some of the memory that handlers read is missing.
    pub reads_missing: bool,
    /// A handler was at what the last of them began.
    pub active: bool,
    /// Signal that ended the worker, if its own handler saw it; else 0.
    pub signal: i32,
    /// Address that it was about, if it was about one.
    pub fault: Option<u64>,
    /// Architecture (`AUDIT_ARCH_*`) and number of the call that the jail forbade it, if it died of one.
    pub forbidden: Option<(u32, i32)>,
    /// Return addresses, the innermost first.
    pub stack: Vec<u64>,
}

/// Architecture and number of a forbidden call, from its word.
#[must_use]
pub fn forbidden(word: u64) -> Option<(u32, i32)> {
    // No architecture is 0.
    Some(((word >> 32) as u32, word as i32)).filter(|(arch, _)| *arch != 0)
}

/// Reads the words of a journal. Events from the first one that is none are left out.
#[must_use]
pub fn parse(words: &[u64]) -> Journal {
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    let frames = (word(FRAMES) as usize).min(MOST_FRAMES);
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
