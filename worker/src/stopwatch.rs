//! Times a sample of the notifications, for the operator's live view.

use crate::context::Context;
use kcov_proto::slot;
use kcov_proto::sync::{AtomicU64, Ordering};
use std::time::Instant;

/// Times the first `period` notifications, then every `period`-th.
#[derive(Debug)]
pub struct Stopwatch {
    /// Sampling period; 0 to time none.
    period: u64,
    /// Notifications started so far.
    begun: u64,
}

impl Stopwatch {
    /// Reads the period from the slot, where the broker has put it.
    #[must_use]
    pub fn new(slot: &[AtomicU64]) -> Self {
        Stopwatch { period: slot[slot::TIMED].load(Ordering::Relaxed), begun: 0 }
    }

    /// Starts a notification. Returns the time if it is to be timed.
    pub fn start(&mut self) -> Option<Instant> {
        self.begun = self.begun.wrapping_add(1);
        let timed = self.begun <= self.period || self.begun.checked_rem(self.period) == Some(0);
        timed.then(Instant::now)
    }

    /// Counts the elapsed time, just before the notification is answered.
    pub fn stop(start: Option<Instant>, context: &Context) {
        if let Some(start) = start {
            context.count_time(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_then_every_nth_notification_is_timed() {
        let timed = |period| {
            let mut stopwatch = Stopwatch { period, begun: 0 };
            (1..=12).filter(|_| stopwatch.start().is_some()).collect::<Vec<_>>()
        };
        assert_eq!(timed(0), [0; 0]);
        assert_eq!(timed(1), (1..=12).collect::<Vec<_>>());
        assert_eq!(timed(4), [1, 2, 3, 4, 8, 12]);
        assert_eq!(timed(20).len(), 12);
    }
}
