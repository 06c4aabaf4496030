//! The pace of the event loop, as a descriptor: cheaper than a timeout for each wait.

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A timer that becomes readable again and again.
#[derive(Debug)]
pub struct Clock {
    timer: TimerFd,
    interval: Duration,
}

impl AsFd for Clock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

impl Clock {
    /// One that stands still.
    ///
    /// # Errors
    /// As `timerfd_create(2)`.
    pub fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        Ok(Clock { timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?, interval: Duration::ZERO })
    }

    /// Ticks every `interval` from here on; nothing changes if it does already.
    ///
    /// # Errors
    /// As `timerfd_settime(2)`.
    pub fn pace(&mut self, interval: Duration) -> Result<(), Errno> {
        if self.interval == interval {
            return Ok(());
        }
        let expiration = Expiration::Interval(TimeSpec::from_duration(interval));
        self.timer.set(expiration, TimerSetTimeFlags::empty())?;
        self.interval = interval;
        Ok(())
    }

    /// Takes the ticks that have come.
    pub fn take(&self) {
        // EAGAIN: none has.
        let _ = self.timer.wait();
    }
}
