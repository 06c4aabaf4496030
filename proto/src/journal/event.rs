//! The events of a journal and their encoding in words.

use super::MAX_READ_BYTES;
use crate::device::ArenaId;

/// Something that a handler did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Event {
    /// A handler got a call that it claimed.
    Call {
        /// Calling thread.
        tid: u32,
        /// System call table: 0 native, 1 i386, 2 x32.
        abi: u32,
        /// Number in that table.
        number: i32,
        /// Argument registers.
        args: [u64; 6],
    },
    /// A handler was asked to open its device.
    Open {
        /// Identity of the new file.
        file: ArenaId,
        /// Number of the device, as in [`Claims::devices`](crate::claims::Claims::devices).
        device: u16,
        /// Open flags of the caller.
        flags: u32,
    },
    /// A handler got an `ioctl` request on an open file.
    Ioctl {
        /// The file.
        file: ArenaId,
        /// Request code.
        request: u32,
        /// Argument register.
        arg: u64,
    },
    /// The last descriptor of a file was closed.
    Closed {
        /// The file.
        file: ArenaId,
    },
    /// The handler read memory of its caller.
    Read {
        /// Address in the caller.
        address: u64,
        /// The bytes that were read.
        #[serde(with = "hexadecimal")]
        bytes: Vec<u8>,
    },
    /// The handler tried to read memory of its caller, and failed.
    NoRead {
        /// Address in the caller.
        address: u64,
        /// Length in bytes.
        length: u64,
    },
    /// The handler tried to write memory of its caller, and failed.
    NoWrite {
        /// Address in the caller.
        address: u64,
        /// Length in bytes.
        length: u64,
    },
}

const CALL: u64 = 1;
pub(super) const OPEN: u64 = 2;
const IOCTL: u64 = 3;
const CLOSED: u64 = 4;
const READ: u64 = 5;
const NO_READ: u64 = 6;
const NO_WRITE: u64 = 7;
/// Bits of the kind in the first word of an event. The bits above hold the number of words that follow.
const KIND_BITS: u32 = 8;

/// Splits the first word of an event into kind and length. Both are allegations.
pub(super) fn head(word: u64) -> (u64, usize) {
    (word & ((1 << KIND_BITS) - 1), (word >> KIND_BITS) as usize)
}

/// Returns whether an event of this kind hands new work to a handler.
pub(super) fn is_beginning(kind: u64) -> bool {
    matches!(kind, CALL | OPEN | IOCTL | CLOSED)
}

fn head_of(kind: u64, words: usize) -> u64 {
    kind | (words as u64) << KIND_BITS
}

/// The words of an [`Event::Read`] that precede its bytes.
pub(super) fn head_of_read(address: u64, bytes: &[u8]) -> [u64; 3] {
    [head_of(READ, 2 + bytes.len().div_ceil(8)), address, bytes.len() as u64]
}

/// Packs bytes into words; the last word is padded with zeros.
pub(super) fn words_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (whole, rest) = bytes.as_chunks::<8>();
    let last = (!rest.is_empty()).then(|| {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        u64::from_le_bytes(word)
    });
    whole.iter().map(|word| u64::from_le_bytes(*word)).chain(last)
}

fn file_of(word: u64) -> ArenaId {
    ArenaId { index: word as u32, generation: (word >> 32) as u32 }
}

impl Event {
    /// Returns whether this event hands new work to a handler. Events before it may be dropped to make room.
    #[must_use]
    pub fn begins(&self) -> bool {
        is_beginning(self.kind())
    }

    fn kind(&self) -> u64 {
        match self {
            Event::Call { .. } => CALL,
            Event::Open { .. } => OPEN,
            Event::Ioctl { .. } => IOCTL,
            Event::Closed { .. } => CLOSED,
            Event::Read { .. } => READ,
            Event::NoRead { .. } => NO_READ,
            Event::NoWrite { .. } => NO_WRITE,
        }
    }

    /// The event in words: kind and length, then its contents.
    pub(super) fn encoded(&self) -> Vec<u64> {
        let words = self.words();
        std::iter::once(head_of(self.kind(), words.len())).chain(words).collect()
    }

    fn words(&self) -> Vec<u64> {
        match self {
            Event::Call { tid, abi, number, args } => {
                let head = [u64::from(*tid), u64::from(*abi) << 32 | u64::from(number.cast_unsigned())];
                head.into_iter().chain(*args).collect()
            }
            Event::Open { file, device, flags } => {
                vec![file.number(), u64::from(*device), u64::from(*flags)]
            }
            Event::Ioctl { file, request, arg } => vec![file.number(), u64::from(*request), *arg],
            Event::Closed { file } => vec![file.number()],
            Event::Read { address, bytes } => {
                let kept = &bytes[..bytes.len().min(MAX_READ_BYTES)];
                [*address, kept.len() as u64].into_iter().chain(words_of(kept)).collect()
            }
            Event::NoRead { address, length } | Event::NoWrite { address, length } => vec![*address, *length],
        }
    }

    pub(super) fn from_words(kind: u64, words: &[u64]) -> Option<Self> {
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
            (NO_WRITE, [address, length]) => Event::NoWrite { address: *address, length: *length },
            _ => return None,
        })
    }
}

/// Bytes as a hexadecimal string in human-readable formats.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serde_bytes::serialize(bytes, serializer);
        }
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        if !deserializer.is_human_readable() {
            return serde_bytes::deserialize(deserializer);
        }
        let digits = String::deserialize(deserializer)?;
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes = if rest.is_empty() { pairs.iter().map(byte).collect() } else { None };
        bytes.ok_or_else(|| D::Error::custom("not a string of hexadecimal bytes"))
    }
}
