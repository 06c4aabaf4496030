//! The events of a tenant and its broker.

use crate::sys::poller::Name;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// Orders of the front, or its end.
    Front,
    /// Events of the tender, or its end.
    Tender,
    /// Replies of the zygote, or its end.
    Zygote,
    /// The spawner's end.
    Spawner,
    /// The clock.
    Clock,
    /// A request of this worker.
    Worker(u32),
    /// An open that this reader passes on.
    Reader(u32),
    /// The end of this reader.
    ReaderEnd(u32),
    /// The end of this worker.
    WorkerEnd(u32),
    /// The end of the process that writes an artifact.
    Artifact,
    /// Something that this worker wrote.
    WorkerOutput(u32),
    /// The end of this owner thread.
    Owner(u32),
}

const SHIFT: u32 = 32;

impl Name for Token {
    fn encode(self) -> u64 {
        let (kind, value) = match self {
            Token::Front => (0, 0),
            Token::Tender => (1, 0),
            Token::Zygote => (2, 0),
            Token::Spawner => (3, 0),
            Token::Clock => (7, 0),
            Token::Worker(index) => (4, index),
            Token::WorkerEnd(index) => (5, index),
            Token::Owner(tid) => (6, tid),
            Token::Reader(index) => (8, index),
            Token::ReaderEnd(index) => (9, index),
            Token::WorkerOutput(index) => (10, index),
            Token::Artifact => (11, 0),
        };
        kind << SHIFT | u64::from(value)
    }

    fn decode(data: u64) -> Option<Self> {
        let value = data as u32;
        Some(match data >> SHIFT {
            0 => Token::Front,
            1 => Token::Tender,
            2 => Token::Zygote,
            3 => Token::Spawner,
            4 => Token::Worker(value),
            5 => Token::WorkerEnd(value),
            6 => Token::Owner(value),
            7 => Token::Clock,
            8 => Token::Reader(value),
            9 => Token::ReaderEnd(value),
            10 => Token::WorkerOutput(value),
            11 => Token::Artifact,
            _ => return None,
        })
    }
}
