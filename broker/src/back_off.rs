//! The penalty for handlers that crash again and again: how long their tenant waits for its next worker.
//!
//! A fork costs the machine more than a call does: a handler that crashes over every call would have the broker do
//! nothing else. The first crashes cost nothing, as fuzzing has many; from then on each doubles the wait. A worker that
//! has served well ends that. Of those that die at birth there are few before the tenant is given up: the waits give a
//! machine time that has no memory or no process left, and only the first costs nothing. No wait is longer than half of
//! the deadline, so callers have the next worker, or their `EIO`, within it.

use std::time::Duration;

/// Crashes in a row that cost nothing.
const FREE: u32 = 16;
/// The first wait.
const FIRST: Duration = Duration::from_millis(5);
/// Calls after which a worker has served well.
const GOOD: u64 = 16;

/// The crashes in a row of a tenant's workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    most: Duration,
    in_a_row: u32,
}

impl BackOff {
    /// None so far. No wait is longer than `most` or half of `deadline`.
    #[must_use]
    pub fn new(most: Duration, deadline: Duration) -> Self {
        BackOff { most: most.min(deadline / 2), in_a_row: 0 }
    }

    /// A worker crashed that had taken so many calls. Returns how long its successor has to wait.
    pub fn crashed(&mut self, taken: u64) -> Duration {
        self.in_a_row = if taken > GOOD { 1 } else { self.in_a_row.saturating_add(1) };
        match self.in_a_row.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => self.doubled(doublings),
        }
    }

    /// Whether the last crash was the first that cost something.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.in_a_row == FREE + 1
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

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(1);

    fn waits(back_off: &mut BackOff, crashes: usize, taken: u64) -> Vec<Duration> {
        (0..crashes).map(|_| back_off.crashed(taken)).collect()
    }

    #[test]
    fn waits_double_after_the_first_crashes_up_to_the_bound() {
        let mut back_off = BackOff::new(MOST, 10 * MOST);
        assert!(waits(&mut back_off, FREE as usize, 1).iter().all(Duration::is_zero));
        assert!(!back_off.begins());
        assert_eq!((back_off.crashed(1), back_off.begins()), (FIRST, true));
        assert_eq!(waits(&mut back_off, 2, 1), [2 * FIRST, 4 * FIRST]);
        assert!(!back_off.begins());
        assert_eq!(waits(&mut back_off, 100, 1).last(), Some(&MOST));
        back_off.in_a_row = u32::MAX;
        assert_eq!(back_off.crashed(0), MOST);
    }

    #[test]
    fn good_service_ends_it() {
        let mut back_off = BackOff::new(MOST, 10 * MOST);
        waits(&mut back_off, 100, 1);
        assert_eq!(back_off.crashed(GOOD + 1), Duration::ZERO);
        assert!(waits(&mut back_off, FREE as usize - 1, GOOD).iter().all(Duration::is_zero));
        assert_eq!(back_off.crashed(GOOD), FIRST);
    }

    #[test]
    fn no_wait_is_longer_than_half_of_the_deadline() {
        let mut back_off = BackOff::new(MOST, Duration::from_millis(300));
        assert_eq!(waits(&mut back_off, 100, 0).last(), Some(&Duration::from_millis(150)));
    }

    #[test]
    fn those_that_die_at_birth_wait_from_the_second_on() {
        let back_off = BackOff::new(MOST, 10 * MOST);
        let waits = [0, 1, 2, 3, 4, 20, u32::MAX].map(|in_a_row| back_off.stillborn(in_a_row));
        assert_eq!(waits, [Duration::ZERO, Duration::ZERO, FIRST, 2 * FIRST, 4 * FIRST, MOST, MOST]);
    }

    #[test]
    fn it_can_be_switched_off() {
        let mut back_off = BackOff::new(Duration::ZERO, MOST);
        assert!(waits(&mut back_off, 100, 0).iter().all(Duration::is_zero));
        assert!(back_off.stillborn(7).is_zero());
    }
}
