//! The price of crashes: how long a tenant waits for its next worker.
//!
//! A fork costs the machine more than a call does. A handler that crashes over every call would keep the broker busy with
//! nothing but forks. The first crashes are free, as fuzzing has many. Further ones cost time in two ways; the longer wait
//! counts:
//!
//! - crashes *in a row*: each doubles the wait. A worker that has served well ends the row;
//! - crashes *over time*: so many a second are free, whatever was served between them, and those of one second may come
//!   at once. Each further crash waits until it would be free.
//!
//! No wait is longer than half of the deadline. So callers get the next worker, or `EIO`, within it.
//!
//! Workers that die before they serve ([`EarlyDeaths`]) have their own count: after some of them the tenant is given up.
//! The waits give a machine time that is out of memory or processes. Somebody else may be killing the workers, so some
//! time has to pass as well.

use std::time::{Duration, Instant};

/// Crashes in a row that are free.
const FREE: u32 = 16;
/// The first wait.
const FIRST: Duration = Duration::from_millis(5);
/// A worker that has received more calls than this has served well.
const GOOD: u64 = 16;
/// The free crashes of this time may come at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Least time between two log lines about too many crashes over time.
const REPORT_PAUSE: Duration = Duration::from_secs(60);

/// Why workers have begun to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// Too many crashes in a row.
    InARow,
    /// Too many over time.
    OverTime,
}

/// The crashes of one tenant's workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    most: Duration,
    in_a_row: u32,
    /// Time that pays for one crash; `None` if no crash is free.
    each: Option<Duration>,
    /// When all crashes so far are paid for.
    paid: Option<Instant>,
    /// When too many crashes over time were last logged.
    reported: Option<Instant>,
    begins: Option<Begins>,
}

impl BackOff {
    /// No crashes. `rate` crashes a second are free. No wait is longer than `most` or half of `deadline`.
    #[must_use]
    pub fn new(most: Duration, rate: u64, deadline: Duration) -> Self {
        let each = AT_ONCE.as_nanos().checked_div(rate.into());
        BackOff {
            most: most.min(deadline / 2),
            in_a_row: 0,
            each: each.map(|nanoseconds| Duration::from_nanos(nanoseconds as u64)),
            paid: None,
            reported: None,
            begins: None,
        }
    }

    /// Counts the crash of a worker that had received `taken` calls. Returns how long the next worker waits.
    pub fn crashed(&mut self, taken: u64, now: Instant) -> Duration {
        let (in_a_row, over_time) = (self.in_a_row(taken), self.over_time(now));
        let is_news =
            self.reported.is_none_or(|reported| now.saturating_duration_since(reported) >= REPORT_PAUSE);
        self.begins = match self.in_a_row {
            _ if in_a_row.max(over_time).is_zero() => None,
            crashes if crashes == FREE + 1 => Some(Begins::InARow),
            _ if over_time > in_a_row && is_news => Some(Begins::OverTime),
            _ => None,
        };
        if self.begins == Some(Begins::OverTime) {
            self.reported = Some(now);
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
        // The part beyond the longest wait is dropped.
        self.paid = Some(paid - (over - wait));
        wait
    }

    /// Why the last crash made the next worker wait, if the crashes before did not.
    #[must_use]
    pub fn begins(&self) -> Option<Begins> {
        self.begins
    }

    /// How long the next worker waits after so many early deaths in a row.
    #[must_use]
    pub fn early_deaths(&self, in_a_row: u32) -> Duration {
        in_a_row.checked_sub(2).map_or(Duration::ZERO, |doublings| self.doubled(doublings))
    }

    fn doubled(&self, doublings: u32) -> Duration {
        FIRST.saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).min(self.most)
    }
}

/// Workers in a row that died before they served.
#[derive(Clone, Copy, Debug, Default)]
pub struct EarlyDeaths {
    in_a_row: u32,
    since: Option<Instant>,
}

impl EarlyDeaths {
    /// Counts one. Returns how many there are in a row.
    pub fn add(&mut self, now: Instant) -> u32 {
        self.since.get_or_insert(now);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.in_a_row
    }

    /// Whether the tenant is to be given up.
    #[must_use]
    pub fn is_hopeless(&self, now: Instant) -> bool {
        /// Fewer may be chance.
        const FEW: u32 = 8;
        /// This many are enough without any wait between them.
        const MANY: u32 = 64;
        /// Nobody kills every worker for this long by chance.
        const LONG: Duration = Duration::from_secs(3);
        let long = self.since.is_some_and(|since| now.saturating_duration_since(since) >= LONG);
        self.in_a_row >= MANY || self.in_a_row >= FEW && long
    }
}

#[cfg(test)]
mod tests;
