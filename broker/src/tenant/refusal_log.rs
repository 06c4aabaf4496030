//! Which refusals over quotas the log tells of: the first of each quota at once, later ones now and then, with their
//! number. A tenant that asks again and again fills its own time with that, and not the operator's disk.

use crate::launch::quotas::Quotas;
use crate::tenant::Tenant;
use kcov_proto::quota::{Quota, Refusals, Row};
use std::time::{Duration, Instant};
use tracing::field::display;
use tracing::warn;

/// Least time between two lines of one quota.
const PAUSE: Duration = Duration::from_secs(10);

/// What was told of.
#[derive(Debug, Default)]
pub struct RefusalLog {
    told: Refusals,
    when: [Option<Instant>; Quota::COUNT],
}

impl RefusalLog {
    /// Quotas that are to be told of now, of which there were so many refusals up to now, with the number of those that
    /// were not told of.
    fn take(&mut self, so_far: &Refusals, now: Instant, pause: Duration) -> Vec<(Quota, u64)> {
        let mut due = Vec::new();
        for (quota, count) in so_far.iter() {
            let (untold, when) = (count.saturating_sub(self.told.of(quota)), &mut self.when[quota as usize]);
            let rested = when.is_none_or(|when| now.saturating_duration_since(when) >= pause);
            if untold > 0 && rested {
                *when = Some(now);
                self.told.add(quota, untold);
                due.push((quota, untold));
            }
        }
        due
    }
}

impl Tenant {
    /// Tells of refusals, if it is time to.
    pub(crate) fn tell_refusals(&mut self, now: Instant) {
        self.tell_of(now, PAUSE);
    }

    /// The end of the run: tells of those that are left.
    pub(crate) fn tell_last_refusals(&mut self) {
        self.tell_of(Instant::now(), Duration::ZERO);
    }

    fn tell_of(&mut self, now: Instant, pause: Duration) {
        let so_far = self.refusals();
        for (quota, times) in self.refusal_log.take(&so_far, now, pause) {
            tell(&self.launch.quotas, quota, times);
        }
    }
}

fn tell(quotas: &Quotas, quota: Quota, times: u64) {
    let Row { name: what, option, key, errno, get, .. } = *quota.row();
    let (bound, errno) = (get(quotas), errno.map(display));
    warn!(event = "quota", what, bound, times, errno, option, key, "over a quota: refused");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_at_once_and_the_others_together() {
        let (mut log, start) = (RefusalLog::default(), Instant::now());
        let mut refusals = Refusals::default();
        assert_eq!(log.take(&refusals, start, PAUSE), []);
        refusals.add(Quota::Area, 3);
        assert_eq!(log.take(&refusals, start, PAUSE), [(Quota::Area, 3)]);
        refusals.add(Quota::Area, 4);
        refusals.count(Quota::Handles);
        assert_eq!(log.take(&refusals, start + SECOND, PAUSE), [(Quota::Handles, 1)]);
        refusals.count(Quota::Area);
        assert_eq!(log.take(&refusals, start + PAUSE, PAUSE), [(Quota::Area, 5)]);
        assert_eq!(log.take(&refusals, start + 9 * PAUSE, PAUSE), []);
    }

    proptest! {
        /// Each refusal is told of once, and never two lines of a quota within the pause.
        #[test]
        fn all_are_told_of_and_seldom(steps in prop::collection::vec((0..Quota::COUNT, 0..5_u64, 0..4000_u64), 0..60)) {
            let (mut log, mut now) = (RefusalLog::default(), Instant::now());
            let (mut refusals, mut told, mut last) = (Refusals::default(), Refusals::default(), [None; Quota::COUNT]);
            for (quota, more, milliseconds) in steps {
                now += Duration::from_millis(milliseconds);
                refusals.add(Quota::ALL[quota], more);
                for (quota, times) in log.take(&refusals, now, PAUSE) {
                    told.add(quota, times);
                    let before: Option<Instant> = last[quota as usize].replace(now);
                    prop_assert!(before.is_none_or(|before| now - before >= PAUSE));
                }
            }
            for (quota, times) in log.take(&refusals, now, Duration::ZERO) {
                told.add(quota, times);
            }
            prop_assert_eq!(told, refusals);
        }
    }
}
