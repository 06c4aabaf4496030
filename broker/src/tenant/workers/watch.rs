//! What looks at a worker's slot show over time: how long it has stood still, and when it received its call.
//!
//! A worker reports neither, and its own word would buy its caller time. So both are told by the broker's clock.

use kcov_proto::message::NotificationId;
use kcov_proto::slot::Phase;
use std::time::{Duration, Instant};

/// The words of a slot that a look reads, each once. All of them are alleged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// Id of the call that the worker holds, 0 for none.
    pub id: NotificationId,
    /// Calls received so far.
    pub taken: u64,
    /// What it does, as a word.
    pub phase: u64,
}

impl SlotView {
    /// What the worker says it does, if that is a phase.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        Phase::from_word(self.phase)
    }

    /// Whether the worker waits for the next call and holds none. A worker that was stopped between the kernel's copy and
    /// its own next instruction still shows `Waiting`, but it shows an id as well.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase() == Some(Phase::Waiting) && self.id == 0
    }
}

/// The history of one worker's slot.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    last: SlotView,
    /// When the last look was.
    looked: Instant,
    /// Since when calls received and phase are what they are.
    since: Instant,
    /// The last look that did not show the current id.
    before: Instant,
}

impl Watch {
    /// Of a worker that is forked now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Watch { last: SlotView { id: 0, taken: 0, phase: 0 }, looked: now, since: now, before: now }
    }

    /// Notes a look. Returns whether the worker has moved on since the last one.
    pub fn look(&mut self, seen: SlotView, now: Instant) -> bool {
        let moved = (seen.taken, seen.phase) != (self.last.taken, self.last.phase);
        if moved {
            self.since = now;
        }
        if seen.id != self.last.id {
            self.before = self.looked;
        }
        (self.last, self.looked) = (seen, now);
        moved
    }

    /// Starts the worker's deadline again.
    pub fn restart(&mut self, now: Instant) {
        self.since = now;
    }

    /// How long the worker has been at the same call, or in the same wait.
    #[must_use]
    pub fn stalled(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// The latest time known to be before the worker received `id`.
    #[must_use]
    pub fn received_after(&self, id: NotificationId) -> Instant {
        if id == self.last.id { self.before } else { self.looked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(id: NotificationId) -> SlotView {
        SlotView { id, taken: 0, phase: 0 }
    }

    #[test]
    fn a_call_was_received_after_the_last_look_without_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::new(start);
        assert_eq!(watch.received_after(5), start);
        watch.look(view(0), at(1));
        assert_eq!(watch.received_after(5), at(1));
        watch.look(view(5), at(2));
        watch.look(view(5), at(3));
        assert_eq!(watch.received_after(5), at(1));
        assert_eq!(watch.received_after(6), at(3));
        watch.look(view(6), at(4));
        assert_eq!(watch.received_after(6), at(3));
    }

    #[test]
    fn the_deadline_runs_from_the_look_that_showed_a_change() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::new(start);
        assert!(watch.look(SlotView { id: 5, taken: 1, phase: 1 }, at(1)));
        assert!(!watch.look(SlotView { id: 5, taken: 1, phase: 1 }, at(3)));
        assert_eq!(watch.stalled(at(3)), Duration::from_secs(2));
        watch.restart(at(3));
        assert_eq!(watch.stalled(at(4)), Duration::from_secs(1));
        assert!(watch.look(SlotView { id: 6, taken: 2, phase: 1 }, at(5)));
        assert_eq!(watch.stalled(at(5)), Duration::ZERO);
    }
}
