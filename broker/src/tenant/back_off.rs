//! The penalty for handlers that crash again and again: how long their tenant waits for its next worker.
//!
//! A fork costs the machine more than a call does: a handler that crashes over every call would have the broker do
//! nothing else. The first crashes cost nothing, as fuzzing has many. What follows costs time in two ways, and the longer
//! wait counts:
//!
//! - of crashes *in a row*, each doubles the wait. A worker that has served well ends that;
//! - of crashes *over time*, so many a second are free, whatever was served between them, and a second's worth may come at
//!   once. Each further one waits until it would be free.
//!
//! Those that die at birth may be few before the tenant is given up: the waits give a machine time that has no memory or
//! no process left, and only the first costs nothing. Somebody else may kill them as well, so some time has to pass, too.
//!
//! No wait is longer than half of the deadline, so callers have the next worker, or their `EIO`, within it.

use std::time::{Duration, Instant};

/// Crashes in a row that cost nothing.
const FREE: u32 = 16;
/// The first wait.
const FIRST: Duration = Duration::from_millis(5);
/// Calls after which a worker has served well.
const GOOD: u64 = 16;
/// The crashes that are free in so much time may come at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// What the log has told of too many crashes over time, it does not tell again before.
const TOLD: Duration = Duration::from_secs(60);

/// Why a worker waits, if that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Too many crashes in a row.
    InARow,
    /// Too many of late.
    OverTime,
}

/// The crashes of a tenant's workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    most: Duration,
    in_a_row: u32,
    /// Time that a crash is paid for by; `None` if none is.
    each: Option<Duration>,
    /// When all crashes so far are paid for.
    paid: Option<Instant>,
    /// When the log was last told of too many over time.
    told: Option<Instant>,
    begins: Option<Begins>,
}

impl BackOff {
    /// None so far, and `rate` crashes a second that cost nothing. No wait is longer than `most` or half of `deadline`.
    #[must_use]
    pub fn new(most: Duration, rate: u64, deadline: Duration) -> Self {
        let each = AT_ONCE.as_nanos().checked_div(rate.into());
        BackOff {
            most: most.min(deadline / 2),
            in_a_row: 0,
            each: each.map(|nanoseconds| Duration::from_nanos(nanoseconds as u64)),
            paid: None,
            told: None,
            begins: None,
        }
    }

    /// A worker crashed that had taken so many calls. Returns how long its successor has to wait.
    pub fn crashed(&mut self, taken: u64, now: Instant) -> Duration {
        let (in_a_row, over_time) = (self.in_a_row(taken), self.over_time(now));
        let is_news = self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD);
        self.begins = match self.in_a_row {
            _ if in_a_row.max(over_time).is_zero() => None,
            crashes if crashes == FREE + 1 => Some(Begins::InARow),
            _ if over_time > in_a_row && is_news => Some(Begins::OverTime),
            _ => None,
        };
        if self.begins == Some(Begins::OverTime) {
            self.told = Some(now);
        }
        in_a_row.max(over_time)
    }

    fn in_a_row(&mut self, taken: u64) -> Duration {
        self.in_a_row = if taken > GOOD { 1 } else { self.in_a_row.saturating_add(1) };
        match self.in_a_row.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => self.doubled(doublings),
        }
    }

    fn over_time(&mut self, now: Instant) -> Duration {
        let Some(each) = self.each else { return self.most };
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + each;
        let over = paid.saturating_duration_since(now + AT_ONCE);
        let wait = over.min(self.most);
        // What is beyond the longest wait is forgiven.
        self.paid = Some(paid - (over - wait));
        wait
    }

    /// Why the last crash costs something, if those before did not.
    #[must_use]
    pub fn begins(&self) -> Option<Begins> {
        self.begins
    }

    /// The last so many workers died before they served. Returns how long their successor has to wait.
    #[must_use]
    pub fn stillborn(&self, in_a_row: u32) -> Duration {
        in_a_row.checked_sub(2).map_or(Duration::ZERO, |doublings| self.doubled(doublings))
    }

    fn doubled(&self, doublings: u32) -> Duration {
        FIRST.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.most)
    }
}

/// The workers in a row that died before they served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stillborn {
    in_a_row: u32,
    since: Option<Instant>,
}

impl Stillborn {
    /// One more. Returns how many there are.
    pub fn add(&mut self, now: Instant) -> u32 {
        self.since.get_or_insert(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.in_a_row
    }

    /// Whether there will be no other.
    #[must_use]
    pub fn is_hopeless(&self, now: Instant) -> bool {
        /// Fewer may have been killed by chance.
        const FEW: u32 = 8;
        /// As many come about without a wait between them.
        const MANY: u32 = 64;
        /// So long nobody kills each of them.
        const LONG: Duration = Duration::from_secs(3);
        let long = self.since.is_some_and(|since| now.saturating_duration_since(since) >= LONG);
        self.in_a_row >= MANY || self.in_a_row >= FEW && long
    }
}

#[cfg(test)]
mod tests;
