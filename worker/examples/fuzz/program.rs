//! What is tried: a sequence of requests on a device that was just opened.

use std::fmt;

/// Most requests in a sequence.
pub const MOST_REQUESTS: usize = 8;

/// A sequence of requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// One after the other.
    pub requests: Vec<Request>,
}

impl Program {
    /// Without one of its requests.
    pub fn without(&self, place: usize) -> Self {
        let mut shorter = self.clone();
        shorter.requests.remove(place);
        shorter
    }

    /// Its requests up to this one.
    pub fn up_to(&self, place: usize) -> Self {
        Program { requests: self.requests.iter().take(place + 1).cloned().collect() }
    }
}

/// One `ioctl`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Its number.
    pub number: u32,
    /// What comes with it.
    pub argument: Argument,
}

/// The third argument of `ioctl`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Argument {
    /// The eight bytes themselves, in the machine's order.
    Value([u8; 8]),
    /// The address of these bytes; zeroes follow.
    Memory(Vec<u8>),
}

impl Argument {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Argument::Value(bytes) => bytes,
            Argument::Memory(bytes) => bytes,
        }
    }

    /// Its bytes, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Argument::Value(bytes) => bytes,
            Argument::Memory(bytes) => bytes,
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Value(bytes) => write!(f, "{:#x}", u64::from_ne_bytes(*bytes)),
            Argument::Memory(bytes) => {
                write!(f, "&")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl fmt::Display for Program {
    /// `0x7601(&00ff), 0x7602(0x5)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Request { number, argument }) in self.requests.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{number:#x}({argument})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_shown_as_calls() {
        let value = Request { number: 1, argument: Argument::Value(0x1234_u64.to_ne_bytes()) };
        let memory = Request { number: 0x7602, argument: Argument::Memory(vec![0, 0xff]) };
        assert_eq!(Program { requests: vec![value, memory] }.to_string(), "0x1(0x1234), 0x7602(&00ff)");
    }
}
