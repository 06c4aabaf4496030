//! How often the log speaks.

use super::*;
use crate::logs::bound::PAUSE;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_refusal_has_a_line_at_once_and_later_ones_together() {
    let (mut log, start) = (RefusalLines::default(), Instant::now());
    let mut refusals = Refusals::default();
    assert_eq!(log.take(&refusals, start, false), []);
    refusals.add(Quota::Area, 3);
    assert_eq!(log.take(&refusals, start, false), [(Quota::Area, 3)]);
    refusals.add(Quota::Area, 4);
    refusals.count(Quota::Handles);
    assert_eq!(log.take(&refusals, start + SECOND, false), [(Quota::Handles, 1)]);
    refusals.count(Quota::Area);
    assert_eq!(log.take(&refusals, start + PAUSE, false), [(Quota::Area, 5)]);
    assert_eq!(log.take(&refusals, start + 9 * PAUSE, false), []);
}

proptest! {
    /// Each refusal is counted in one line, and no two lines of a quota come within the pause.
    #[test]
    fn every_refusal_is_reported_once(steps in prop::collection::vec((0..Quota::COUNT, 0..5_u64, 0..4000_u64), 0..60)) {
        let (mut log, mut now) = (RefusalLines::default(), Instant::now());
        let (mut refusals, mut reported, mut last) = (Refusals::default(), Refusals::default(), [None; Quota::COUNT]);
        for (quota, more, milliseconds) in steps {
            now += Duration::from_millis(milliseconds);
            refusals.add(Quota::ALL[quota], more);
            for (quota, times) in log.take(&refusals, now, false) {
                reported.add(quota, times);
                let before: Option<Instant> = last[quota as usize].replace(now);
                prop_assert!(before.is_none_or(|before| now - before >= PAUSE));
            }
        }
        for (quota, times) in log.take(&refusals, now, true) {
            reported.add(quota, times);
        }
        prop_assert_eq!(reported, refusals);
    }
}
