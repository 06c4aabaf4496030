//! Calls that a worker gets from the broker instead of the listener: calls that the broker received while there was no
//! worker, and calls that killed a worker and that the next worker handles once more.
//!
//! The second kind is only for handlers that declared that they may see a call twice. The dead worker's slot alleges which
//! call it was, and that nothing was done for it; a lie there harms only a caller of the worker's own tenant. No call is
//! handled a third time, and its caller has an answer within the deadline of the first attempt. So a call that took longer
//! than half of the deadline is not handled again.
//!
//! A call may wait behind one that hangs. When its time is over before it was begun, it gets a quarter of the deadline
//! more, once. Calls that resemble the one that hung go last.

use kcov_proto::message::{NotificationId, Order};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// When a call must be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    at: Instant,
    /// Whether the call gets a quarter of the deadline more if no worker has begun it by then.
    extends: bool,
}

impl Due {
    /// For a call that is received `now` and was made after `made`: the deadline, but at least a quarter of it from now.
    #[must_use]
    pub fn of_waiting(made: Instant, now: Instant, deadline: Duration) -> Self {
        let (ordinary, least) = (made + deadline, now + grace(deadline));
        Due { at: ordinary.max(least), extends: ordinary >= least }
    }
}

/// The least time that a call has which is received late.
fn grace(deadline: Duration) -> Duration {
    deadline / 4
}

/// One call.
#[derive(Debug)]
struct Call {
    /// The worker that has the order; `None` while no worker has it.
    worker: Option<u32>,
    order: Order,
    due: Due,
    /// A worker has died handling it.
    again: bool,
}

/// A reassigned call that a dead worker had in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    again: bool,
    due: Due,
}

/// The reassigned calls of one tenant.
#[derive(Debug)]
pub struct Reassigned {
    deadline: Duration,
    calls: HashMap<NotificationId, Call>,
    /// The last call that hung: its worker was killed for it.
    hung: Option<Order>,
}

impl Reassigned {
    /// No calls.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Reassigned { deadline, calls: HashMap::new(), hung: None }
    }

    /// Adds a call that no worker received. [`take_orders`](Self::take_orders) gives it to the next worker.
    pub fn add(&mut self, id: NotificationId, order: Order, due: Due) {
        self.calls.insert(id, Call { worker: None, order, due, again: false });
    }

    /// Adds a call that killed a worker, received at `received`, to be handled once more. Returns whether it was added:
    /// not if it was handled twice, or if more than half of its deadline is over.
    pub fn add_again(
        &mut self,
        id: NotificationId,
        order: Order,
        lost: Option<Lost>,
        received: Instant,
        now: Instant,
    ) -> bool {
        let in_time = now.saturating_duration_since(received) < self.deadline / 2;
        if lost.is_some_and(|lost| lost.again) || !in_time {
            return false;
        }
        let due = received + self.deadline;
        let at = lost.map_or(due, |lost| lost.due.at.min(due));
        self.calls.insert(id, Call { worker: None, order, due: Due { at, extends: false }, again: true });
        true
    }

    /// Notes that a worker was killed because it did not finish this call.
    pub fn note_hung(&mut self, order: Order) {
        self.hung = Some(order);
    }

    /// Whether the call is reassigned.
    #[must_use]
    pub fn has(&self, id: NotificationId) -> bool {
        self.calls.contains_key(&id)
    }

    /// Whether the call is reassigned to another worker than this one.
    #[must_use]
    pub fn is_for_another(&self, id: NotificationId, worker: u32) -> bool {
        self.calls.get(&id).is_some_and(|call| call.worker != Some(worker))
    }

    /// The orders that no worker has. They are `worker`'s afterwards.
    pub fn take_orders(&mut self, worker: u32) -> Vec<Order> {
        let unordered = self.calls.iter_mut().filter(|(_, call)| call.worker.is_none());
        let mut orders: Vec<_> = unordered
            .map(|(id, call)| {
                call.worker = Some(worker);
                (*id, call.order.clone())
            })
            .collect();
        // Ids are in the order of the calls.
        let hung = self.hung.as_ref();
        orders.sort_unstable_by_key(|(id, order)| (hung.map_or(0, |hung| likeness(order, hung)), *id));
        orders.into_iter().map(|(_, order)| order).collect()
    }

    /// `worker` is dead. The calls that it had not begun are for the next worker. Returns the call that it had in flight,
    /// if that was a reassigned one.
    pub fn worker_died(&mut self, worker: u32, in_flight: NotificationId) -> Option<Lost> {
        let lost = self.calls.remove(&in_flight).map(|Call { due, again, .. }| Lost { again, due });
        for call in self.calls.values_mut().filter(|call| call.worker == Some(worker)) {
            call.worker = None;
        }
        lost
    }

    /// Forgets the calls that are no longer in flight. Workers do not report that they answered one.
    pub fn forget_answered(&mut self, is_in_flight: impl Fn(NotificationId) -> bool) {
        self.calls.retain(|id, _| is_in_flight(*id));
    }

    /// Removes the calls whose time is over, with the worker that has the order, and the order. A call that its worker has
    /// not begun may get more time instead.
    pub fn take_due(
        &mut self,
        now: Instant,
        is_begun: impl Fn(NotificationId, u32) -> bool,
    ) -> Vec<(NotificationId, Option<u32>, Order)> {
        let more = grace(self.deadline);
        let is_over = |id: &NotificationId, call: &mut Call| {
            let Call { worker, due, .. } = call;
            let is_due = due.at <= now;
            if is_due && due.extends && worker.is_some_and(|worker| !is_begun(*id, worker)) {
                *due = Due { at: now + more, extends: false };
                return false;
            }
            is_due
        };
        self.calls.extract_if(is_over).map(|(id, call)| (id, call.worker, call.order)).collect()
    }
}

/// How much one call resembles another: 0, 1 for the same number, 2 for the same arguments as well.
fn likeness(one: &Order, other: &Order) -> u8 {
    let (Order::Call { arch, number, args, .. }, Order::Call { arch: a, number: n, args: others, .. }) =
        (one, other)
    else {
        return 0;
    };
    let same_number = (arch, number) == (a, n);
    u8::from(same_number) + u8::from(same_number && args == others)
}

#[cfg(test)]
mod tests;
