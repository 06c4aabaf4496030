//! When a worker received the call that it has in flight.
//!
//! Nobody reports it, and a worker's own word would buy its caller time. So it is told by looks at its slot: a call that
//! a look did not show was received later than that.

use kcov_proto::message::NotificationId;
use std::time::Instant;

/// What looks at a slot showed.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// What the last look showed, 0 for none.
    id: NotificationId,
    /// A look that did not show it.
    before: Instant,
    last: Instant,
}

impl Received {
    /// Of a worker that is forked now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Received { id: 0, before: now, last: now }
    }

    /// A look at the slot shows `id`.
    pub fn look(&mut self, id: NotificationId, now: Instant) {
        if id != self.id {
            (self.id, self.before) = (id, self.last);
        }
        self.last = now;
    }

    /// The latest time that is known to be before `id` was received.
    #[must_use]
    pub fn after(&self, id: NotificationId) -> Instant {
        if id == self.id { self.before } else { self.last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_call_is_later_than_the_last_look_that_did_not_show_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut received = Received::new(start);
        assert_eq!(received.after(5), start);
        received.look(0, at(1));
        assert_eq!(received.after(5), at(1));
        received.look(5, at(2));
        received.look(5, at(3));
        assert_eq!(received.after(5), at(1));
        assert_eq!(received.after(6), at(3));
        received.look(6, at(4));
        assert_eq!(received.after(6), at(3));
    }
}
