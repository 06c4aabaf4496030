//! Which crashes of workers the log tells of: as many one by one as a fuzzer has when all is well, the others by their
//! number. A handler that crashes over every call fills its own time with that, and not the operator's disk.

use crate::tenant::Tenant;
use std::time::{Duration, Instant};
use tracing::warn;

/// Crashes in a row that each have a line.
const BURST: u32 = 256;
/// Then, time between two that do.
const INTERVAL: Duration = Duration::from_secs(1);
/// Time whose other crashes have a line together.
const PAUSE: Duration = Duration::from_secs(10);

/// What was told of.
#[derive(Debug, Default)]
pub struct CrashLog {
    /// When the next [`BURST`] may have a line each.
    rested: Option<Instant>,
    untold: u64,
    /// When the first of those was.
    since: Option<Instant>,
}

impl CrashLog {
    /// Takes note of a crash. Says whether it is to have a line.
    pub fn take(&mut self, now: Instant) -> bool {
        let rested = self.rested.map_or(now, |rested| rested.max(now)) + INTERVAL;
        let has_line = rested.saturating_duration_since(now) <= INTERVAL * BURST;
        if has_line {
            self.rested = Some(rested);
        } else {
            self.untold += 1;
            self.since.get_or_insert(now);
        }
        has_line
    }

    /// How many have had no line, if `pause` has passed since the first of them.
    fn take_untold(&mut self, now: Instant, pause: Duration) -> Option<u64> {
        let since = self.since?;
        if now.saturating_duration_since(since) < pause {
            return None;
        }
        self.since = None;
        Some(std::mem::take(&mut self.untold))
    }
}

impl Tenant {
    /// Tells of crashes that had no line, if it is time to.
    pub(crate) fn tell_untold_crashes(&mut self, now: Instant) {
        self.tell_crashes(now, PAUSE);
    }

    /// The end of the run: tells of those that are left.
    pub(crate) fn tell_last_crashes(&mut self) {
        self.tell_crashes(Instant::now(), Duration::ZERO);
    }

    fn tell_crashes(&mut self, now: Instant, pause: Duration) {
        if let Some(times) = self.crash_log.take_untold(now, pause) {
            let all = self.counters.worker_crashes;
            warn!(event = "worker_crashes", times, all, "more workers ended than have a line of their own");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_one_by_one_and_the_others_together() {
        let (mut log, start) = (CrashLog::default(), Instant::now());
        assert!((0..BURST).all(|_| log.take(start)));
        assert_eq!(log.take_untold(start, Duration::ZERO), None);
        assert!(!log.take(start) && !log.take(start + INTERVAL / 2));
        assert!(log.take(start + INTERVAL) && !log.take(start + INTERVAL));
        assert_eq!(log.take_untold(start + PAUSE / 2, PAUSE), None);
        assert_eq!(log.take_untold(start + PAUSE, PAUSE), Some(3));
        assert_eq!(log.take_untold(start + 2 * PAUSE, PAUSE), None);
        assert!((0..BURST).all(|_| log.take(start + INTERVAL * (BURST + 1))), "rested");
    }

    proptest! {
        /// Each crash is told of once, and lines come no faster than they may.
        #[test]
        fn all_are_told_of_and_seldom(crashes in prop::collection::vec(0..50_u64, 0..2000)) {
            let (mut log, start) = (CrashLog::default(), Instant::now());
            let (mut now, mut lines, mut told) = (start, 0, 0);
            for milliseconds in &crashes {
                now += Duration::from_millis(*milliseconds);
                lines += u64::from(log.take(now));
                told += log.take_untold(now, PAUSE).unwrap_or(0);
            }
            told += log.take_untold(now, Duration::ZERO).unwrap_or(0);
            prop_assert_eq!(lines + told, crashes.len() as u64);
            prop_assert!(lines <= u64::from(BURST) + (now - start).as_secs());
        }
    }
}
