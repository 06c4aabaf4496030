//! How long a queue has been standing still.
//!
//! The kernel's queue does not say how long a call has waited. What is known comes from looks at it: a call that waits
//! now was made after the queue was last seen empty. So its age is bounded, however many workers die before they come
//! to it.

use kcov_proto::message::NotificationId;
use std::time::{Duration, Instant};

/// What looks at the queue of calls that wait to be received showed.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueWatch {
    /// Since when the queue has calls and none was received.
    since: Option<Instant>,
    latest: Option<NotificationId>,
    /// When the queue was last seen empty.
    empty: Option<Instant>,
}

impl QueueWatch {
    /// Notes a look: whether the queue has calls, and the latest id that was received. The id comes from the kernel, so
    /// no worker can change it.
    pub fn look(&mut self, has_calls: bool, latest: Option<NotificationId>, now: Instant) {
        if !has_calls || latest != self.latest {
            self.since = None;
        }
        self.latest = latest;
        match has_calls {
            true => drop(self.since.get_or_insert(now)),
            false => self.empty = Some(now),
        }
    }

    /// The earliest time at which the calls in the queue may have been made.
    #[must_use]
    pub fn made_after(&self, now: Instant) -> Instant {
        self.empty.or(self.since).unwrap_or(now)
    }

    /// Whether the queue has had calls for `time` and none was received.
    #[must_use]
    pub fn lasts(&self, time: Duration, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_runs_until_a_call_is_received() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut queue = QueueWatch::default();
        queue.look(false, None, at(0));
        assert_eq!(queue.since, None);
        queue.look(true, Some(7), at(1));
        queue.look(true, Some(7), at(2));
        assert_eq!(queue.since, Some(at(1)));
        queue.look(true, Some(8), at(3));
        assert_eq!(queue.since, Some(at(3)));
        queue.look(false, Some(8), at(4));
        assert_eq!(queue.since, None);
    }

    #[test]
    fn calls_were_made_after_the_queue_was_last_empty() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut queue = QueueWatch::default();
        assert_eq!(queue.made_after(at(0)), at(0));
        queue.look(true, Some(7), at(1));
        assert_eq!(queue.made_after(at(2)), at(1), "nothing else is known");
        queue.look(false, Some(7), at(3));
        queue.look(true, Some(8), at(4));
        queue.look(true, Some(9), at(5));
        assert_eq!(queue.made_after(at(6)), at(3));
    }
}
