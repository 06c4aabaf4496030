//! The budget of a worker's budget: so many for each call of its tenant.
//!
//! A worker that was taken over could send budget without end and keep its broker busy. But calls are made by the
//! tenant, their ids are sequential, and the kernel says of each id whether its call is in flight. So the broker knows
//! which calls are new, and its work is bounded by the tenant's calls, whatever workers send.
//!
//! Reads and writes of callers' memory go to a reader and have a quota of their own
//! ([`allowance`](crate::processes::reader::allowance)).

use kcov_proto::message::{NotificationId, RequestKind};

/// Budget for one call. Most calls need one and none needs ten. The others are for log messages of handlers, and, for
/// the first call, for budget before it.
const PER_CALL: u32 = 512;
/// Budget for remote sections in one call: the worker starts no more sections than need this
/// (`worker/src/remote/host.rs`).
const SECTIONS_PER_CALL: u32 = 8192;
/// A request for another reader counts as this many: starting one is more work than any other request.
const READER: u32 = 32;

/// What one worker has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u32,
    /// Left of the budget for remote sections.
    sections: u32,
    /// The last call that added to it.
    granted: NotificationId,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { left: PER_CALL, sections: SECTIONS_PER_CALL, granted: 0 }
    }
}

impl Budget {
    /// Adds a call that the broker gives the worker.
    pub fn grant(&mut self) {
        self.left = self.left.saturating_add(PER_CALL);
        self.sections = self.sections.max(SECTIONS_PER_CALL);
    }

    /// Spends one request for the call `id`: `what`, or a call that a reader passes on. Returns whether there was budget for it. `latest` is the latest call
    /// known to be in flight; no worker can make that an earlier one.
    #[must_use]
    pub fn take(
        &mut self,
        what: Option<&RequestKind>,
        id: NotificationId,
        latest: Option<NotificationId>,
    ) -> bool {
        if latest == Some(id) && self.granted != id {
            self.granted = id;
            self.left = self.left.max(PER_CALL);
            self.sections = SECTIONS_PER_CALL;
        }
        let (left, cost) = match what {
            Some(RequestKind::Reader) => (&mut self.left, READER),
            Some(
                RequestKind::RemoteStart { .. }
                | RequestKind::RemoteStop { .. }
                | RequestKind::RemoteUnbuffered
                | RequestKind::Arena(_),
            ) => (&mut self.sections, 1),
            _ => (&mut self.left, 1),
        };
        let rest = left.checked_sub(cost);
        *left = rest.unwrap_or(0);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: RequestKind = RequestKind::Settle;

    /// How often a request is granted.
    fn times(budget: &mut Budget, what: &RequestKind, id: NotificationId, latest: NotificationId) -> u32 {
        (0..).find(|_| !budget.take(Some(what), id, Some(latest))).unwrap_or(u32::MAX)
    }

    #[test]
    fn each_new_call_adds_to_the_budget_once() {
        let mut budget = Budget::default();
        assert_eq!(times(&mut budget, &SETTLE, 7, 7), PER_CALL);
        assert_eq!(times(&mut budget, &SETTLE, 7, 7), 0);
        assert_eq!(times(&mut budget, &SETTLE, 8, 8), PER_CALL);
        assert_eq!(times(&mut budget, &RequestKind::Reader, 9, 9), PER_CALL / READER);
    }

    #[test]
    fn budget_does_not_add_up_over_calls() {
        let mut budget = Budget::default();
        assert!((1..1000).all(|id| budget.take(Some(&SETTLE), id, Some(id))));
        assert_eq!(times(&mut budget, &SETTLE, 1000, 1000), PER_CALL);
    }

    #[test]
    fn old_and_invented_calls_add_nothing() {
        let mut budget = Budget::default();
        assert!(budget.take(Some(&SETTLE), 7, Some(7)));
        let other = |id: u32| NotificationId::from(id % 5);
        let granted = (0..).find(|&id| !budget.take(Some(&SETTLE), other(id), Some(7)));
        assert_eq!(granted, Some(PER_CALL - 1));
    }

    #[test]
    fn reassigned_calls_add_whatever_their_ids() {
        let mut budget = Budget::default();
        (0..2).for_each(|_| budget.grant());
        assert_eq!(times(&mut budget, &SETTLE, 3, 7), 3 * PER_CALL);
    }
}
