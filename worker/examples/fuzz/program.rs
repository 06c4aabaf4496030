//! Test programs: sequences of requests on a newly opened device.

use std::fmt;

/// Most requests in a program.
pub const MAX_REQUESTS: usize = 8;

/// A sequence of requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// The requests, in order.
    pub requests: Vec<Request>,
}

impl Program {
    /// A copy without the request at `place`.
    pub fn without(&self, place: usize) -> Self {
        let mut shorter = self.clone();
        shorter.requests.remove(place);
        shorter
    }

    /// A copy that ends with the request at `place`.
    pub fn up_to(&self, place: usize) -> Self {
        Program { requests: self.requests.iter().take(place + 1).cloned().collect() }
    }
}

/// One `ioctl` request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Request code.
    pub number: u32,
    /// Its argument.
    pub argument: Argument,
}

/// The third argument of `ioctl`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Argument {
    /// A value, as eight bytes in native order.
    Value([u8; 8]),
    /// The address of these bytes, which are followed by zeros.
    Memory(Vec<u8>),
}

impl Argument {
    /// The bytes of the value or of the memory.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Argument::Value(bytes) => bytes,
            Argument::Memory(bytes) => bytes,
        }
    }

    /// The same bytes, mutable.
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
    /// For example `0x7601(&00ff), 0x7602(0x5)`.
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
