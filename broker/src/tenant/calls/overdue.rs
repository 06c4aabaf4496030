//! Calls that somebody received and that no slot shows.
//!
//! An honest worker hides none: the kernel copies a notification straight into its slot. A worker that was taken over
//! can. But ids are sequential, and the kernel says of each id whether its call still waits for an answer. So a call
//! that was received two deadlines ago and still waits is found, whatever workers claim.

use kcov_proto::message::NotificationId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Most ids checked at a time; takes some milliseconds.
const PROBES: u64 = 1 << 12;

/// Which ids may belong to calls that were received some time ago and have no answer.
#[derive(Clone, Debug, Default)]
pub struct Overdue {
    /// All calls up to this id have their answers.
    settled: Option<NotificationId>,
    /// The latest ids at earlier looks, the oldest first.
    marks: VecDeque<(Instant, NotificationId)>,
}

impl Overdue {
    /// Notes a look: the latest id that was received, and whether any call that was received has no answer yet.
    pub fn look(&mut self, latest: NotificationId, unanswered: bool, now: Instant, deadline: Duration) {
        if !unanswered {
            self.settled = Some(latest);
            self.marks.clear();
            return;
        }
        self.settled.get_or_insert(latest.wrapping_sub(PROBES));
        if self.marks.back().is_none_or(|(then, _)| now.saturating_duration_since(*then) >= deadline / 2) {
            self.marks.push_back((now, latest));
        }
    }

    /// The next ids that were received at least two deadlines ago and may have no answer: the first, and how many. Each id
    /// is returned once.
    pub fn take(&mut self, now: Instant, deadline: Duration) -> Option<(NotificationId, u64)> {
        let (then, mark) = *self.marks.front()?;
        let settled = self.settled.filter(|_| now.saturating_duration_since(then) >= 2 * deadline)?;
        let count = mark.wrapping_sub(settled).min(PROBES);
        let end = settled.wrapping_add(count);
        self.settled = Some(end);
        if end == mark {
            self.marks.pop_front();
        }
        Some((settled.wrapping_add(1), count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(4);

    fn start() -> impl Fn(u64) -> Instant {
        let start = Instant::now();
        move |seconds| start + Duration::from_secs(seconds)
    }

    #[test]
    fn ids_are_returned_once_after_two_deadlines() {
        let at = start();
        let mut overdue = Overdue::default();
        overdue.look(100, false, at(0), DEADLINE);
        for second in 1..=20 {
            overdue.look(100 + 10 * second, true, at(second), DEADLINE);
            let expected = match second {
                9 => Some((101, 10)),
                11 | 13 | 15 | 17 | 19 => Some((101 + 10 * (second - 10), 20)),
                _ => None,
            };
            assert_eq!(overdue.take(at(second), DEADLINE), expected, "second {second}");
        }
    }

    #[test]
    fn a_look_without_unanswered_calls_settles_all() {
        let at = start();
        let mut overdue = Overdue::default();
        overdue.look(5, true, at(0), DEADLINE);
        overdue.look(9, false, at(7), DEADLINE);
        assert_eq!(overdue.take(at(60), DEADLINE), None);
        overdue.look(11, true, at(60), DEADLINE);
        assert_eq!(overdue.take(at(68), DEADLINE), Some((10, 2)));
    }

    #[test]
    fn many_ids_are_returned_in_parts() {
        let at = start();
        let mut overdue = Overdue::default();
        overdue.look(0, false, at(0), DEADLINE);
        overdue.look(PROBES + 7, true, at(1), DEADLINE);
        assert_eq!(overdue.take(at(9), DEADLINE), Some((1, PROBES)));
        assert_eq!(overdue.take(at(9), DEADLINE), Some((PROBES + 1, 7)));
        assert_eq!(overdue.take(at(9), DEADLINE), None);
    }

    #[test]
    fn ids_wrap() {
        let at = start();
        let mut overdue = Overdue::default();
        overdue.look(u64::MAX - 1, false, at(0), DEADLINE);
        overdue.look(2, true, at(1), DEADLINE);
        assert_eq!(overdue.take(at(9), DEADLINE), Some((u64::MAX, 4)));
    }
}
