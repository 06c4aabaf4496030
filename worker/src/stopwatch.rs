//! How long notifications take, for the operator's live view.

use crate::context::Context;
use kcov_proto::slot;
use kcov_proto::sync::{AtomicU64, Ordering};
use std::time::Instant;

/// Times one notification of as many as the broker says.
#[derive(Debug)]
pub struct Stopwatch {
    /// Of so many one is timed; 0 for none.
    period: u64,
    /// So many more are not timed.
    left: u64,
}

impl Stopwatch {
    /// As the broker has written into the slot.
    #[must_use]
    pub fn new(slot: &[AtomicU64]) -> Self {
        Stopwatch { period: slot[slot::TIMED].load(Ordering::Relaxed), left: 0 }
    }

    /// A notification begins. Two looks at the clock are 40 ns, where the whole round trip takes thousands.
    pub fn start(&mut self) -> Option<Instant> {
        if self.left > 0 || self.period == 0 {
            self.left = self.left.saturating_sub(1);
            return None;
        }
        self.left = self.period - 1;
        Some(Instant::now())
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
    fn one_of_so_many_is_timed_from_the_first_on() {
        let timed = |period| {
            let mut stopwatch = Stopwatch { period, left: 0 };
            (0..8).filter(|_| stopwatch.start().is_some()).count()
        };
        assert_eq!([0, 1, 4, 8, 9].map(timed), [0, 8, 2, 1, 1]);
    }
}
