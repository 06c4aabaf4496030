//! Calls that somebody took and that no slot shows.
//!
//! An honest worker hides none: the kernel copies a notification straight into its slot. One that was taken over may. But
//! ids are sequential, and the kernel tells of each whether it still waits for an answer: so what was taken two deadlines
//! ago and waits on is found, whatever workers say.

use crate::sys::listener::{self, Answer};
use crate::tenant::Tenant;
use crate::tenant::untaken::KEEPS;
use kcov_proto::message::NotificationId;
use kcov_proto::{Errno, slot};
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use tracing::warn;

/// Most ids that are asked about at a time: some milliseconds.
const PROBES: u64 = 1 << 12;
/// Those of them that are asked about when a worker dies. Most deaths hide nothing, and other tenants want the processor.
const PROBES_AT_DEATH: u64 = 1 << 7;

/// What looks at the listener tell of calls that were taken some time ago.
#[derive(Clone, Debug, Default)]
pub struct Overdue {
    /// Up to this one all have their answers.
    settled: Option<NotificationId>,
    /// The last ones that were known to have been taken then, the oldest first.
    marks: VecDeque<(Instant, NotificationId)>,
}

impl Overdue {
    /// A look: the last call that is known to have been taken, and whether any call that was taken has no answer yet.
    pub fn look(&mut self, last: NotificationId, unanswered: bool, now: Instant, deadline: Duration) {
        if !unanswered {
            self.settled = Some(last);
            self.marks.clear();
            return;
        }
        self.settled.get_or_insert(last.wrapping_sub(PROBES));
        if self.marks.back().is_none_or(|(then, _)| now.saturating_duration_since(*then) >= deadline / 2) {
            self.marks.push_back((now, last));
        }
    }

    /// Some of the calls that were taken two deadlines ago or earlier and may have no answer, as the first and the number of
    /// them. They are not told of again.
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

impl Tenant {
    /// Takes note of an id that is alleged, if it is true: ids are sequential, from where the kernel begins.
    pub(crate) fn saw(&mut self, id: NotificationId) {
        let is_later = self.last_id.is_none_or(|last| id.wrapping_sub(last).cast_signed() > 0);
        if is_later && self.is_in_flight(id) {
            self.last_id = Some(id);
        }
    }

    /// Whether the call was taken and waits for its answer.
    pub(crate) fn is_in_flight(&self, id: NotificationId) -> bool {
        listener::id_valid(self.listener.as_fd(), id) == Ok(true)
    }

    /// A worker is dead: looks for calls that it took and its slot does not show, from the last id that was seen to be true,
    /// and answers them. What it took long after that is found when it is overdue.
    pub(crate) fn answer_hidden(&mut self) {
        let Some(last) = self.last_id else { return };
        let others: Vec<u64> = self.workers.values().map(|other| other.word(slot::ID)).collect();
        if !self.has_unanswered() {
            return;
        }
        for id in (0..PROBES_AT_DEATH).map(|step| last.wrapping_add(step)) {
            // One that the next worker has from the broker is not hidden.
            if !others.contains(&id) && !self.retries.has(id) && self.is_in_flight(id) {
                self.answer_caller(id, Answer::Fail(Errno::EIO));
                if !self.has_unanswered() {
                    return;
                }
            }
        }
    }

    /// Answers calls that were taken two deadlines ago and still wait for their answers. Who keeps one is ended first, or it
    /// would have the caller's next call.
    pub(crate) fn answer_overdue(&mut self, now: Instant, deadline: Duration) {
        let Some(last) = self.last_id else { return };
        self.overdue.look(last, self.has_unanswered(), now, deadline);
        let Some((first, count)) = self.overdue.take(now, deadline) else { return };
        for id in (0..count).map(|step| first.wrapping_add(step)) {
            // One that a worker has from the broker has a deadline of its own.
            if !self.retries.has(id) && self.is_in_flight(id) {
                warn!(event = "overdue", id, "a call was kept beyond two deadlines");
                self.end_workers(KEEPS);
                self.answer_caller(id, Answer::Fail(Errno::EIO));
            }
        }
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
    fn what_was_taken_two_deadlines_ago_is_looked_at_once() {
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
    fn a_moment_without_one_settles_all() {
        let at = start();
        let mut overdue = Overdue::default();
        overdue.look(5, true, at(0), DEADLINE);
        overdue.look(9, false, at(7), DEADLINE);
        assert_eq!(overdue.take(at(60), DEADLINE), None);
        overdue.look(11, true, at(60), DEADLINE);
        assert_eq!(overdue.take(at(68), DEADLINE), Some((10, 2)));
    }

    #[test]
    fn many_are_looked_at_in_parts() {
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
