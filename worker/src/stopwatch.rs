//! How long notifications take, for the operator's live view.

use crate::context::Context;
use kcov_proto::slot;
use kcov_proto::sync::{AtomicU64, Ordering};
use std::time::Instant;

/// Times one notification of as many as the broker says, and all of the first so many.
#[derive(Debug)]
pub struct Stopwatch {
    /// As many; 0 for none.
    period: u64,
    /// Notifications so far.
    begun: u64,
}

impl Stopwatch {
    /// As the broker has written into the slot.
    #[must_use]
    pub fn new(slot: &[AtomicU64]) -> Self {
        Stopwatch { period: slot[slot::TIMED].load(Ordering::Relaxed), begun: 0 }
    }

    /// A notification begins.
    pub fn start(&mut self) -> Option<Instant> {
        self.begun = self.begun.wrapping_add(1);
        let timed = self.begun <= self.period || self.begun.checked_rem(self.period) == Some(0);
        timed.then(Instant::now)
    }

    /// It is about to be answered.
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
    fn the_first_and_then_one_of_so_many_are_timed() {
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
