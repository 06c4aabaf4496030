//! Bounds on repeated messages: the first ones have a line each, the others are counted and summed up.

use std::time::{Duration, Instant};

/// Least time between two lines that sum up.
pub const PAUSE: Duration = Duration::from_secs(10);

/// Events that are summed up in a line now and then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repeats {
    unreported: u64,
    /// When the next line may come; `None` for at once.
    next: Option<Instant>,
}

impl Repeats {
    /// Counts events.
    pub fn add(&mut self, times: u64) {
        self.unreported += times;
    }

    /// Counts an event that has no line of its own. A line that sums up follows after the pause.
    pub fn add_later(&mut self, now: Instant) {
        if self.unreported == 0 {
            self.next = Some(now + PAUSE);
        }
        self.add(1);
    }

    /// Takes the events that are to be reported now: none within the pause, unless `all`.
    pub fn take(&mut self, now: Instant, all: bool) -> Option<u64> {
        let is_due = all || self.next.is_none_or(|next| next <= now);
        if self.unreported == 0 || !is_due {
            return None;
        }
        self.next = Some(now + PAUSE);
        Some(std::mem::take(&mut self.unreported))
    }
}

/// How many lines of one kind there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Lines at once, if there were none for a while.
    pub burst: u32,
    /// Beyond those, one line in this time.
    pub interval: Duration,
}

/// The lines of one kind of message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bound {
    /// When the next burst may come.
    rested: Option<Instant>,
    /// Messages without a line of their own.
    pub others: Repeats,
}

impl Bound {
    /// Counts a message. Returns whether it has a line of its own.
    pub fn add(&mut self, now: Instant, Limit { burst, interval }: Limit) -> bool {
        let rested = self.rested.map_or(now, |rested| rested.max(now)) + interval;
        let has_line = rested.saturating_duration_since(now) <= interval * burst;
        match has_line {
            true => self.rested = Some(rested),
            false => self.others.add_later(now),
        }
        has_line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: Limit = Limit { burst: 256, interval: Duration::from_secs(1) };

    #[test]
    fn the_first_messages_have_a_line_each_and_the_others_one_together() {
        let (mut bound, start) = (Bound::default(), Instant::now());
        assert!((0..LIMIT.burst).all(|_| bound.add(start, LIMIT)));
        assert_eq!(bound.others.take(start, true), None);
        assert!(!bound.add(start, LIMIT) && !bound.add(start + LIMIT.interval / 2, LIMIT));
        assert!(bound.add(start + LIMIT.interval, LIMIT) && !bound.add(start + LIMIT.interval, LIMIT));
        assert_eq!(bound.others.take(start + PAUSE / 2, false), None);
        assert_eq!(bound.others.take(start + PAUSE, false), Some(3));
        assert_eq!(bound.others.take(start + 2 * PAUSE, false), None);
        let rested = start + LIMIT.interval * (LIMIT.burst + 1);
        assert!((0..LIMIT.burst).all(|_| bound.add(rested, LIMIT)));
    }

    proptest! {
        /// Each message is counted in one line, and lines come no faster than they may.
        #[test]
        fn every_message_is_reported_once(pauses in prop::collection::vec(0..50_u64, 0..2000)) {
            let (mut bound, start) = (Bound::default(), Instant::now());
            let (mut now, mut lines, mut reported) = (start, 0, 0);
            for milliseconds in &pauses {
                now += Duration::from_millis(*milliseconds);
                lines += u64::from(bound.add(now, LIMIT));
                reported += bound.others.take(now, false).unwrap_or(0);
            }
            reported += bound.others.take(now, true).unwrap_or(0);
            prop_assert_eq!(lines + reported, pauses.len() as u64);
            prop_assert!(lines <= u64::from(LIMIT.burst) + (now - start).as_secs() + 1);
        }
    }
}
