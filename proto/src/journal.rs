//! What a worker leaves for whoever asks why it died: the calls that its handlers had, what they read of their callers'
//! memory, and where it was in the end.
//!
//! The journal is memory that a worker writes and the broker reads after the worker's death, so that nothing has to be
//! sent while it lives. All of it is an allegation: [`parse`] takes words that were read once and believes no length.
//!
//! | word | holds |
//! |---|---|
//! | [`USED`] | words of the log, stored after what they hold |
//! | [`TRUNCATED`] | 1 if the log was begun anew, so that what came before is missing |
//! | [`SIGNAL`] | signal that the worker's own handler saw, or 0 |
//! | [`FAULT`] | address that it was about |
//! | [`FRAMES`] | how many return addresses follow, the innermost first |
//! | [`STACK`]... | they |
//! | [`LOG`]... | events: a word of kind and length, then so many words |

use crate::device::ArenaId;
use crate::sync::{AtomicU64, Ordering};

/// Words of a journal.
pub const WORDS: usize = 1 << 15;
/// See the module.
pub const USED: usize = 0;
/// See the module.
pub const TRUNCATED: usize = 1;
/// See the module.
pub const SIGNAL: usize = 2;
/// See the module.
pub const FAULT: usize = 3;
/// See the module.
pub const FRAMES: usize = 4;
/// See the module.
pub const STACK: usize = 8;
/// Most return addresses.
pub const MOST_FRAMES: usize = 64;
/// See the module.
pub const LOG: usize = 128;
/// Words of the log.
const ROOM: usize = WORDS - LOG;
/// Most bytes of one read that are kept; of a longer one, the beginning.
pub const MOST_KEPT: usize = 64 * 1024;

/// Something that a worker did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Event {
    /// A handler was given a call that it claimed.
    Call {
        /// Calling thread.
        tid: u32,
        /// Table: 0 the machine's own, 1 i386, 2 x32.
        abi: u32,
        /// Number in it.
        number: i32,
        /// Argument registers.
        args: [u64; 6],
    },
    /// A handler was asked to open its device.
    Open {
        /// Identity of the file.
        file: ArenaId,
        /// Number of the device.
        device: u16,
        /// Open flags.
        flags: u32,
    },
    /// A handler was given a request on a file.
    Ioctl {
        /// The file.
        file: ArenaId,
        /// The request.
        request: u32,
        /// Its argument.
        arg: u64,
    },
    /// The last descriptor of a file was closed.
    Closed {
        /// The file.
        file: ArenaId,
    },
    /// The handler read memory of its caller.
    Read {
        /// Where.
        address: u64,
        /// What was there.
        bytes: Vec<u8>,
    },
    /// It tried to.
    NoRead {
        /// Where.
        address: u64,
        /// How many bytes.
        length: u64,
    },
}

const CALL: u64 = 1;
const OPEN: u64 = 2;
const IOCTL: u64 = 3;
const CLOSED: u64 = 4;
const READ: u64 = 5;
const NO_READ: u64 = 6;
/// Bits of the kind in the first word of an event; above them is the number of words.
const KIND_BITS: u32 = 8;

fn file_word(file: ArenaId) -> u64 {
    file.number()
}

fn file_of(word: u64) -> ArenaId {
    ArenaId { index: word as u32, generation: (word >> 32) as u32 }
}

impl Event {
    /// Whether a handler began something with it: what came before may be forgotten if there is no room.
    fn begins(&self) -> bool {
        matches!(self, Event::Call { .. } | Event::Open { .. } | Event::Ioctl { .. })
    }

    fn words(&self) -> (u64, Vec<u64>) {
        match self {
            Event::Call { tid, abi, number, args } => {
                let head = [u64::from(*tid), u64::from(*abi) << 32 | u64::from(number.cast_unsigned())];
                (CALL, head.into_iter().chain(*args).collect())
            }
            Event::Open { file, device, flags } => {
                (OPEN, vec![file_word(*file), u64::from(*device), u64::from(*flags)])
            }
            Event::Ioctl { file, request, arg } => (IOCTL, vec![file_word(*file), u64::from(*request), *arg]),
            Event::Closed { file } => (CLOSED, vec![file_word(*file)]),
            Event::Read { address, bytes } => {
                let kept = &bytes[..bytes.len().min(MOST_KEPT)];
                let data = kept.chunks(8).map(|chunk| {
                    let mut word = [0; 8];
                    word[..chunk.len()].copy_from_slice(chunk);
                    u64::from_le_bytes(word)
                });
                (READ, [*address, kept.len() as u64].into_iter().chain(data).collect())
            }
            Event::NoRead { address, length } => (NO_READ, vec![*address, *length]),
        }
    }

    fn from_words(kind: u64, words: &[u64]) -> Option<Self> {
        Some(match (kind, words) {
            (CALL, [tid, what, args @ ..]) => Event::Call {
                tid: *tid as u32,
                abi: (what >> 32) as u32,
                number: *what as i32,
                args: args.try_into().ok()?,
            },
            (OPEN, [file, device, flags]) => {
                Event::Open { file: file_of(*file), device: *device as u16, flags: *flags as u32 }
            }
            (IOCTL, [file, request, arg]) => {
                Event::Ioctl { file: file_of(*file), request: *request as u32, arg: *arg }
            }
            (CLOSED, [file]) => Event::Closed { file: file_of(*file) },
            (READ, [address, length, data @ ..]) => {
                let mut bytes: Vec<u8> = data.iter().flat_map(|word| word.to_le_bytes()).collect();
                let length = usize::try_from(*length).ok().filter(|&length| length <= bytes.len())?;
                bytes.truncate(length);
                Event::Read { address: *address, bytes }
            }
            (NO_READ, [address, length]) => Event::NoRead { address: *address, length: *length },
            _ => return None,
        })
    }
}

/// Appends to a journal.
#[derive(Debug)]
pub struct Writer<M> {
    memory: M,
}

impl<M: std::ops::Deref<Target = [AtomicU64]>> Writer<M> {
    /// Over the memory of a journal; `None` if it is too short.
    pub fn new(memory: M) -> Option<Self> {
        (memory.len() >= WORDS).then_some(Writer { memory })
    }

    /// Appends an event. If there is no room, an event that begins something begins the log anew, and others are left
    /// out.
    pub fn append(&self, event: &Event) {
        let (kind, words) = event.words();
        let mut used = self.memory[USED].load(Ordering::Relaxed) as usize;
        if used + 1 + words.len() > ROOM {
            if !event.begins() {
                return;
            }
            self.memory[TRUNCATED].store(1, Ordering::Relaxed);
            used = 0;
        }
        self.memory[LOG + used].store(kind | (words.len() as u64) << KIND_BITS, Ordering::Relaxed);
        for (at, word) in words.iter().enumerate() {
            self.memory[LOG + used + 1 + at].store(*word, Ordering::Relaxed);
        }
        self.memory[USED].store((used + 1 + words.len()) as u64, Ordering::Release);
    }

    /// The memory.
    pub fn memory(&self) -> &[AtomicU64] {
        &self.memory
    }
}

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
    bincode::serde::decode_from_slice(bytes, config).map(|(events, _)| events)
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    /// What was done, the oldest first; the last one is what was under way.
    pub events: Vec<Event>,
    /// Something is missing before them.
    pub truncated: bool,
    /// Signal that ended the worker, if its own handler saw it; else 0.
    pub signal: i32,
    /// Address that it was about.
    pub fault: u64,
    /// Return addresses, the innermost first.
    pub stack: Vec<u64>,
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
        let length = (head >> KIND_BITS) as usize;
        let Some((body, next)) = rest.split_at_checked(length) else { break };
        let Some(event) = Event::from_words(head & ((1 << KIND_BITS) - 1), body) else { break };
        events.push(event);
        left = next;
    }
    Journal {
        events,
        truncated: word(TRUNCATED) != 0,
        signal: word(SIGNAL) as i32,
        fault: word(FAULT),
        stack: words.get(STACK..STACK + frames).unwrap_or_default().to_vec(),
    }
}
