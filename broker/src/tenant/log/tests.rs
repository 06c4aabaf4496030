//! How often the log speaks.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_crashes_have_a_line_each_and_the_others_one_together() {
    let (mut log, start) = (Crashes::default(), Instant::now());
    assert!((0..BURST).all(|_| log.add(start)));
    assert_eq!(log.others.take(start, true), None);
    assert!(!log.add(start) && !log.add(start + INTERVAL / 2));
    assert!(log.add(start + INTERVAL) && !log.add(start + INTERVAL));
    assert_eq!(log.others.take(start + PAUSE / 2, false), None);
    assert_eq!(log.others.take(start + PAUSE, false), Some(3));
    assert_eq!(log.others.take(start + 2 * PAUSE, false), None);
    assert!((0..BURST).all(|_| log.add(start + INTERVAL * (BURST + 1))), "rested");
}

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
    /// Each crash is counted in one line, and lines come no faster than they may.
    #[test]
    fn every_crash_is_reported_once(crashes in prop::collection::vec(0..50_u64, 0..2000)) {
        let (mut log, start) = (Crashes::default(), Instant::now());
        let (mut now, mut lines, mut reported) = (start, 0, 0);
        for milliseconds in &crashes {
            now += Duration::from_millis(*milliseconds);
            lines += u64::from(log.add(now));
            reported += log.others.take(now, false).unwrap_or(0);
        }
        reported += log.others.take(now, true).unwrap_or(0);
        prop_assert_eq!(lines + reported, crashes.len() as u64);
        prop_assert!(lines <= u64::from(BURST) + (now - start).as_secs());
    }

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
