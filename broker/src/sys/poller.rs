//! The one blocking point of a process: epoll, with names for what is waited for.

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::time::Duration;

/// The name of an event: fits into the 64 bits that epoll keeps.
pub trait Name: Sized {
    /// As bits.
    fn encode(self) -> u64;
    /// From bits.
    fn decode(data: u64) -> Option<Self>;
}

/// An epoll instance whose events have names.
#[derive(Debug)]
pub struct Poller<T> {
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
