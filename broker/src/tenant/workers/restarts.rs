//! When the next worker starts after one that ended.

use super::back_off::{BackOff, Begins, EarlyDeaths};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// What follows the end of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next worker starts now.
    Now,
    /// It starts when it is due.
    Later,
    /// There will be none: workers keep dying before they serve.
    Never,
}

/// The restarts of one tenant's workers.
#[derive(Debug)]
pub struct Restarts {
    early: EarlyDeaths,
    back_off: BackOff,
    due: Option<Instant>,
    delayed: u64,
}

impl Restarts {
    /// None so far.
    #[must_use]
    pub fn new(back_off: BackOff) -> Self {
        Restarts { early: EarlyDeaths::default(), back_off, due: None, delayed: 0 }
    }

    /// Starts that were delayed so far.
    #[must_use]
    pub fn delayed(&self) -> u64 {
        self.delayed
    }

    /// Whether a worker waits for its start.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    /// Returns whether a worker is to start now that was delayed.
    pub fn take_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// A worker reported that it serves.
    pub fn served(&mut self) {
        self.early = EarlyDeaths::default();
    }

    /// A worker died that had reported, after `taken` calls.
    pub fn crashed(&mut self, taken: u64, now: Instant) -> Next {
        let wait = self.back_off.crashed(taken, now);
        self.delay(wait, self.back_off.begins(), now)
    }

    /// A worker died before it reported, or could not be forked.
    pub fn failed_to_start(&mut self, now: Instant) -> Next {
        let in_a_row = self.early.add(now);
        if self.early.is_hopeless(now) {
            return Next::Never;
        }
        self.delay(self.back_off.early_deaths(in_a_row), None, now)
    }

    fn delay(&mut self, wait: Duration, begins: Option<Begins>, now: Instant) -> Next {
        if wait.is_zero() {
            return Next::Now;
        }
        self.delayed += 1;
        self.due = Some(now + wait);
        let (event, milliseconds) = ("back_off", wait.as_millis() as u64);
        match begins {
            Some(Begins::InARow) => {
                let option = "--max-restart-delay";
                warn!(event, milliseconds, option, "workers crash in a row: restarts are delayed");
            }
            Some(Begins::OverTime) => {
                let option = "--max-crash-rate";
                warn!(event, milliseconds, option, "workers crash often: restarts are delayed");
            }
            None => info!(event, milliseconds, "restart delayed"),
        }
        Next::Later
    }
}
