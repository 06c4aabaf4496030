//! Waits by the numbers and the times of crashes.

use super::*;
use proptest::prelude::*;

const MOST: Duration = Duration::from_secs(1);
/// So many are free a second that their number never matters.
const ANY: u64 = u64::MAX;

fn waits(back_off: &mut BackOff, crashes: usize, taken: u64) -> Vec<Duration> {
    let now = Instant::now();
    (0..crashes).map(|_| back_off.crashed(taken, now)).collect()
}

#[test]
fn waits_double_after_the_first_crashes_up_to_the_bound() {
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
fn good_service_ends_it() {
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
fn those_that_die_at_birth_wait_from_the_second_on() {
    let back_off = BackOff::new(MOST, ANY, 10 * MOST);
    let waits = [0, 1, 2, 3, 4, 20, u32::MAX].map(|in_a_row| back_off.stillborn(in_a_row));
    assert_eq!(waits, [Duration::ZERO, Duration::ZERO, FIRST, 2 * FIRST, 4 * FIRST, MOST, MOST]);
}

#[test]
fn it_can_be_switched_off() {
    for rate in [ANY, 1, 0] {
        let mut back_off = BackOff::new(Duration::ZERO, rate, MOST);
        assert!(waits(&mut back_off, 100, 0).iter().all(Duration::is_zero));
        assert!(back_off.stillborn(7).is_zero());
    }
}

#[test]
fn crashes_over_time_cost_something_however_well_the_workers_served() {
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
fn what_the_bound_cuts_off_is_forgiven() {
    let (mut back_off, start) = (BackOff::new(MOST, 10, 10 * MOST), Instant::now());
    assert!((0..1000).all(|_| back_off.crashed(GOOD + 1, start) <= MOST));
    assert_eq!(back_off.crashed(GOOD + 1, start), MOST);
    assert_eq!(back_off.crashed(GOOD + 1, start + 3 * MOST), Duration::ZERO);
}

#[test]
fn none_is_free_if_the_rate_says_so() {
    let mut back_off = BackOff::new(MOST, 0, 10 * MOST);
    assert_eq!(waits(&mut back_off, 3, GOOD + 1), [MOST; 3]);
}

#[test]
fn nobody_is_given_up_for_a_few_or_a_moment() {
    let (mut stillborn, start) = (Stillborn::default(), Instant::now());
    assert!((1..8).all(|count| stillborn.add(start) == count));
    assert!(!stillborn.is_hopeless(start + 9 * MOST));
    stillborn.add(start);
    assert!(!stillborn.is_hopeless(start) && stillborn.is_hopeless(start + 9 * MOST));
    assert!((9..=64).all(|count| stillborn.add(start) == count) && stillborn.is_hopeless(start));
}

proptest! {
    /// Whoever crashes and waits as told never has more than the free ones, a second's worth more and one; and who crashes
    /// more seldom than is free never waits.
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
