//! Waits after crashes.

use super::*;
use proptest::prelude::*;

const MOST: Duration = Duration::from_secs(1);
/// So many crashes are free that their rate never matters.
const ANY: u64 = u64::MAX;

fn waits(back_off: &mut BackOff, crashes: usize, taken: u64) -> Vec<Duration> {
    let now = Instant::now();
    (0..crashes).map(|_| back_off.crashed(taken, now)).collect()
}

#[test]
fn waits_double_after_the_free_crashes_up_to_the_bound() {
    let (mut back_off, now) = (BackOff::new(MOST, ANY, 10 * MOST), Instant::now());
    assert!(waits(&mut back_off, FREE as usize, 1).iter().all(Duration::is_zero));
    assert_eq!(back_off.begins(), None);
    assert_eq!((back_off.crashed(1, now), back_off.begins()), (FIRST, Some(Begins::InARow)));
    assert_eq!(waits(&mut back_off, 2, 1), [2 * FIRST, 4 * FIRST]);
    assert_eq!(back_off.begins(), None);
    assert_eq!(waits(&mut back_off, 100, 1).last(), Some(&MOST));
    back_off.in_a_row = u32::MAX;
    assert_eq!(back_off.crashed(0, now), MOST);
}

#[test]
fn a_worker_that_served_well_ends_the_row() {
    let (mut back_off, now) = (BackOff::new(MOST, ANY, 10 * MOST), Instant::now());
    waits(&mut back_off, 100, 1);
    assert_eq!(back_off.crashed(GOOD + 1, now), Duration::ZERO);
    assert!(waits(&mut back_off, FREE as usize - 1, GOOD).iter().all(Duration::is_zero));
    assert_eq!(back_off.crashed(GOOD, now), FIRST);
}

#[test]
fn no_wait_is_longer_than_half_of_the_deadline() {
    for rate in [ANY, 1, 0] {
        let mut back_off = BackOff::new(MOST, rate, Duration::from_millis(300));
        assert_eq!(waits(&mut back_off, 100, 0).last(), Some(&Duration::from_millis(150)), "{rate}");
    }
}

#[test]
fn early_deaths_wait_from_the_second_on() {
    let back_off = BackOff::new(MOST, ANY, 10 * MOST);
    let waits = [0, 1, 2, 3, 4, 20, u32::MAX].map(|in_a_row| back_off.early_deaths(in_a_row));
    assert_eq!(waits, [Duration::ZERO, Duration::ZERO, FIRST, 2 * FIRST, 4 * FIRST, MOST, MOST]);
}

#[test]
fn a_bound_of_0_switches_waits_off() {
    for rate in [ANY, 1, 0] {
        let mut back_off = BackOff::new(Duration::ZERO, rate, MOST);
        assert!(waits(&mut back_off, 100, 0).iter().all(Duration::is_zero));
        assert!(back_off.early_deaths(7).is_zero());
    }
}

#[test]
fn crashes_over_time_cost_time_however_well_the_workers_served() {
    let (mut back_off, start) = (BackOff::new(MOST, 10, 10 * MOST), Instant::now());
    let each = MOST / 10;
    let mut crashed = |now| (back_off.crashed(GOOD + 1, now), back_off.begins());
    assert!((0..10).all(|_| crashed(start) == (Duration::ZERO, None)), "a second's worth at once");
    assert_eq!(crashed(start), (each, Some(Begins::OverTime)));
    assert_eq!(crashed(start), (2 * each, None));
    assert_eq!(crashed(start + 2 * each), (each, None), "each further one as it would be free");
    assert_eq!(crashed(start + 5 * MOST), (Duration::ZERO, None), "forgiven");
}

#[test]
fn waiting_time_beyond_the_bound_is_dropped() {
    let (mut back_off, start) = (BackOff::new(MOST, 10, 10 * MOST), Instant::now());
    assert!((0..1000).all(|_| back_off.crashed(GOOD + 1, start) <= MOST));
    assert_eq!(back_off.crashed(GOOD + 1, start), MOST);
    assert_eq!(back_off.crashed(GOOD + 1, start + 3 * MOST), Duration::ZERO);
}

#[test]
fn no_crash_is_free_at_a_rate_of_0() {
    let mut back_off = BackOff::new(MOST, 0, 10 * MOST);
    assert_eq!(waits(&mut back_off, 3, GOOD + 1), [MOST; 3]);
}

#[test]
fn a_tenant_is_given_up_after_many_deaths_or_a_long_time() {
    let (mut early, start) = (EarlyDeaths::default(), Instant::now());
    assert!((1..8).all(|count| early.add(start) == count));
    assert!(!early.is_hopeless(start + 9 * MOST));
    early.add(start);
    assert!(!early.is_hopeless(start) && early.is_hopeless(start + 9 * MOST));
    assert!((9..=64).all(|count| early.add(start) == count) && early.is_hopeless(start));
}

proptest! {
    /// A tenant that waits as told never has more crashes than the rate allows, plus those of one second and one; and a
    /// tenant that stays below the rate never waits.
    #[test]
    fn the_rate_is_kept(rate in 1..200_u64, pauses in prop::collection::vec(0..100_u64, 1..500)) {
        let (start, longest) = (Instant::now(), 100 * MOST);
        let mut back_off = BackOff::new(longest, rate, 2 * longest);
        let mut now = start;
        for (crashes, milliseconds) in pauses.iter().enumerate() {
            now += Duration::from_millis(*milliseconds);
            let free = (now - start).as_secs_f64() * rate as f64 + rate as f64 + 1.0;
            prop_assert!(crashes as f64 <= free, "{crashes} > {free}");
            now += back_off.crashed(GOOD + 1, now);
        }
        let mut seldom = BackOff::new(longest, rate, 2 * longest);
        let each = MOST / rate as u32 + Duration::from_millis(1);
        prop_assert!((0..500).all(|crash| seldom.crashed(GOOD + 1, start + each * crash).is_zero()));
    }
}
