//! How much a worker may ask of its broker: so much for each call of its tenant.
//!
//! A worker that was taken over could ask without end, and keep its broker busy with nothing else. But calls are made by
//! the tenant, their ids are sequential, and the kernel tells of each whether it is in flight: so a call is known by the
//! broker to be new, and what the broker does is bounded by what its tenant does, whatever workers send.
//!
//! Reads and writes of a caller's memory do not come here but to a reader; they have a quota
//! ([`allowance`](crate::processes::reader::allowance)).

use kcov_proto::message::{AssistKind, NotificationId};

/// Requests for one call. Most calls need one, none needs ten; the others are for what handlers tell the log, and the first
/// call's for what comes before.
const PER_CALL: u32 = 512;
/// What a request for another reader counts as: to start one is more work than all else that can be asked.
const READER: u32 = 32;

/// What is left of it to one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    left: u32,
    /// The last call that something was granted for.
    granted: NotificationId,
}

impl Default for Requests {
    fn default() -> Self {
        Requests { left: PER_CALL, granted: 0 }
    }
}

impl Requests {
    /// The broker gives the worker a call.
    pub fn grant(&mut self) {
        self.left = self.left.saturating_add(PER_CALL);
    }

    /// The worker asks `what` for the call `id`. Says whether it may. `latest` is the last call that is known to have been
    /// taken; no worker can make that be an earlier one.
    #[must_use]
    pub fn take(&mut self, what: &AssistKind, id: NotificationId, latest: Option<NotificationId>) -> bool {
        if latest == Some(id) && self.granted != id {
            self.granted = id;
            self.left = self.left.max(PER_CALL);
        }
        let left = self.left.checked_sub(if *what == AssistKind::Reader { READER } else { 1 });
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: AssistKind = AssistKind::Settle;

    /// How often a worker that is told to may ask.
    fn times(requests: &mut Requests, what: &AssistKind, id: NotificationId, latest: NotificationId) -> u32 {
        (0..).find(|_| !requests.take(what, id, Some(latest))).unwrap_or(u32::MAX)
    }

    #[test]
    fn each_new_call_is_worth_so_much_once() {
        let mut requests = Requests::default();
        assert_eq!(times(&mut requests, &SETTLE, 7, 7), PER_CALL);
        assert_eq!(times(&mut requests, &SETTLE, 7, 7), 0);
        assert_eq!(times(&mut requests, &SETTLE, 8, 8), PER_CALL);
        assert_eq!(times(&mut requests, &AssistKind::Reader, 9, 9), PER_CALL / READER);
    }

    #[test]
    fn what_is_not_asked_for_one_call_is_not_kept_for_another() {
        let mut requests = Requests::default();
        assert!((1..1000).all(|id| requests.take(&SETTLE, id, Some(id))));
        assert_eq!(times(&mut requests, &SETTLE, 1000, 1000), PER_CALL);
    }

    #[test]
    fn calls_that_were_or_never_are_grant_nothing() {
        let mut requests = Requests::default();
        assert!(requests.take(&SETTLE, 7, Some(7)));
        let other = |id: u32| NotificationId::from(id % 5);
        let granted = (0..).find(|&id| !requests.take(&SETTLE, other(id), Some(7)));
        assert_eq!(granted, Some(PER_CALL - 1));
    }

    #[test]
    fn calls_that_the_broker_gives_count_whatever_their_ids() {
        let mut requests = Requests::default();
        (0..2).for_each(|_| requests.grant());
        assert_eq!(times(&mut requests, &SETTLE, 3, 7), 3 * PER_CALL);
    }
}
