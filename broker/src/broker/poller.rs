//! The one blocking point of a process: epoll, with names for what is waited for.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::time::Duration;

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

/// What a poller tells: a name that fits into the 64 bits that epoll keeps.
pub trait Name: Sized {
    /// As bits.
    fn encode(self) -> u64;
    /// From bits.
    fn decode(data: u64) -> Option<Self>;
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

/// An epoll instance over names; the broker's by default.
#[derive(Debug)]
pub struct Poller<T = Token> {
    epoll: Epoll,
    names: PhantomData<fn() -> T>,
}

impl<T: Name> Poller<T> {
    /// An empty one.
    ///
    /// # Errors
    /// As `epoll_create1(2)`.
    pub fn new() -> Result<Self, Errno> {
        Ok(Poller { epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, names: PhantomData })
    }

    /// Waits for `fd` to become readable or to end; closing it takes it out again.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn add(&self, fd: impl AsFd, token: T) -> Result<(), Errno> {
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token.encode()))
    }

    /// As [`add`](Self::add), for a pidfd that tells once.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn add_once(&self, fd: impl AsFd, token: T) -> Result<(), Errno> {
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT, token.encode()))
    }

    /// Waits no longer for `fd`.
    pub fn remove(&self, fd: impl AsFd) {
        // It may not be in: that is what is wanted.
        let _ = self.epoll.delete(fd);
    }

    /// Waits, at most `timeout` if there is one, and appends what became ready.
    ///
    /// # Errors
    /// As `epoll_wait(2)`; a signal is not one.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<T>) -> Result<(), Errno> {
        let mut events = [EpollEvent::empty(); 64];
        // Rounded up: a wait of less than a millisecond must not spin.
        let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
            EpollTimeout::from(u16::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(u16::MAX))
        });
        match self.epoll.wait(&mut events, timeout) {
            Ok(count) => {
                ready.extend(events[..count].iter().filter_map(|event| T::decode(event.data())));
                Ok(())
            }
            Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
