//! Calls that a worker has from the broker, and not from the listener: those that no worker took (see
//! [`untaken`](crate::tenant::untaken)), and those that a worker died of and that the next one handles once more.
//!
//! Of the latter the handlers have said that they may have such a call twice; the dead worker's slot alleges which call
//! it was, and that nothing was done for it. A worker that lies there harms a caller of its own tenant alone, as it may
//! anyway. No call is handled a third time, and its caller has an answer within the deadline of the first attempt: so a
//! call that took longer than half of it is not handled again, and one that the broker ended its worker for has no time
//! left.
//!
//! A call that waits behind one that does not come to an end need not do the same. When its time is over it has a quarter
//! of the deadline more, once, and the next worker has first what resembles the call least that its predecessor was ended
//! for.

use crate::sys::listener::{self, Answer};
use crate::tenant::Tenant;
use crate::tenant::permit::Phase;
use crate::tenant::untaken::grace;
use crate::tenant::worker_process::{PAST_DEADLINE, WorkerProcess};
use kcov_proto::message::{NotificationId, Order};
use kcov_proto::{Errno, slot};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use tracing::info;

/// When a caller is to have its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    at: Instant,
    /// Whether that may be put off by a quarter of the deadline, if nobody has begun by then.
    extends: bool,
}

impl Due {
    /// Of a call that is taken `now`, and was made after another time.
    #[must_use]
    pub fn of_untaken(made: Instant, now: Instant, deadline: Duration) -> Self {
        let (ordinary, least) = (made + deadline, now + grace(deadline));
        Due { at: ordinary.max(least), extends: ordinary >= least }
    }
}

/// One call.
#[derive(Debug)]
struct Retry {
    /// The worker that it was ordered from; `None` while there is none.
    worker: Option<u32>,
    order: Order,
    due: Due,
    /// A worker has died of it.
    again: bool,
}

/// What a dead worker had in flight, if it had it from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    again: bool,
    due: Due,
}

/// Such calls of one tenant.
#[derive(Debug, Default)]
pub struct Retries {
    calls: HashMap<NotificationId, Retry>,
    /// The last call that a worker was ended for.
    endless: Option<Order>,
}

impl Retries {
    /// Has a call handled by a worker. The order goes to the next worker by [`take_orders`](Self::take_orders).
    pub fn begin(&mut self, id: NotificationId, order: Order, due: Due) {
        self.calls.insert(id, Retry { worker: None, order, due, again: false });
    }

    /// Has a call that a worker died of handled once more.
    fn begin_again(&mut self, id: NotificationId, order: Order, at: Instant) {
        let due = Due { at, extends: false };
        self.calls.insert(id, Retry { worker: None, order, due, again: true });
    }

    /// A worker was ended, as it did not come to an end of this call.
    fn was_endless(&mut self, order: Order) {
        self.endless = Some(order);
    }

    /// Whether the call is among them.
    #[must_use]
    pub fn has(&self, id: NotificationId) -> bool {
        self.calls.contains_key(&id)
    }

    /// Whether the call is among them, and not `worker`'s.
    #[must_use]
    pub fn is_for_another(&self, id: NotificationId, worker: u32) -> bool {
        self.calls.get(&id).is_some_and(|retry| retry.worker != Some(worker))
    }

    /// Orders that no worker has; they are `worker`'s now.
    pub fn take_orders(&mut self, worker: u32) -> Vec<Order> {
        let unordered = self.calls.iter_mut().filter(|(_, retry)| retry.worker.is_none());
        let mut orders: Vec<_> = unordered
            .map(|(id, retry)| {
                retry.worker = Some(worker);
                (*id, retry.order.clone())
            })
            .collect();
        // Ids are given in the order of the calls.
        let endless = self.endless.as_ref();
        orders
            .sort_unstable_by_key(|(id, order)| (endless.map_or(0, |endless| likeness(order, endless)), *id));
        orders.into_iter().map(|(_, order)| order).collect()
    }

    /// `worker` is dead. What it had not begun is for the next one; returns what it had in flight, if that was among them.
    pub fn worker_died(&mut self, worker: u32, in_flight: NotificationId) -> Option<Lost> {
        let lost = self.calls.remove(&in_flight).map(|Retry { due, again, .. }| Lost { again, due });
        for retry in self.calls.values_mut().filter(|retry| retry.worker == Some(worker)) {
            retry.worker = None;
        }
        lost
    }

    /// Forgets the calls that are not in flight any more: their workers do not say that they answered.
    pub fn keep(&mut self, is_in_flight: impl Fn(NotificationId) -> bool) {
        self.calls.retain(|id, _| is_in_flight(*id));
    }

    /// Calls that are due, with the worker that has the order; they are given up. Those that their workers have not
    /// begun may have some time more.
    pub fn take_due(
        &mut self,
        now: Instant,
        more: Duration,
        is_begun: impl Fn(NotificationId, u32) -> bool,
    ) -> Vec<(NotificationId, Option<u32>)> {
        let is_over = |id: &NotificationId, retry: &mut Retry| {
            let Retry { worker, due, .. } = retry;
            let is_due = due.at <= now;
            if is_due && due.extends && worker.is_some_and(|worker| !is_begun(*id, worker)) {
                *due = Due { at: now + more, extends: false };
                return false;
            }
            is_due
        };
        self.calls.extract_if(is_over).map(|(id, retry)| (id, retry.worker)).collect()
    }
}

/// How much one call resembles another: its number, and its arguments.
fn likeness(one: &Order, other: &Order) -> u8 {
    let (Order::Call { arch, number, args, .. }, Order::Call { arch: a, number: n, args: others, .. }) =
        (one, other)
    else {
        return 0;
    };
    let same_number = (arch, number) == (a, n);
    u8::from(same_number) + u8::from(same_number && args == others)
}

impl Tenant {
    /// Has the next worker handle the call that a dead one had in flight, if that may be and there is the time. Says
    /// whether it does. `lost`: it had the call from the broker.
    pub(crate) fn retry(
        &mut self,
        worker: &WorkerProcess,
        lost: Option<Lost>,
        now: Instant,
        deadline: Duration,
    ) -> bool {
        let (id, order) = alleged_order(worker);
        let received = worker.received();
        let in_time = now.saturating_duration_since(received) < deadline / 2;
        if lost.is_some_and(|lost| lost.again) || !in_time || !self.is_repeatable(worker, id) {
            return false;
        }
        let due = received + deadline;
        self.retries.begin_again(id, order, lost.map_or(due, |lost| lost.due.at.min(due)));
        self.counters.retries += 1;
        let (arch, number) = worker.alleged_call();
        let (tid, call) = (worker.word(slot::PID) as u32, crate::launch::call_name(arch, number));
        info!(event = "retry", tid, call = call.as_str(), "the next worker handles a call once more");
        true
    }

    /// Whether a call may be handled once more after this worker: it is in flight, and nobody but its idempotent
    /// handlers has done anything for it.
    fn is_repeatable(&self, worker: &WorkerProcess, id: NotificationId) -> bool {
        let declared = self.claims.handlers.iter().any(|handler| handler.idempotent);
        let alleged = id != 0 && worker.word(slot::REPEATABLE) == id;
        let decided = worker.phase == Phase::Serving { decided: Some(id) };
        let ended = worker.killed.is_some() || worker.is_asked();
        let elsewhere = self.retries.has(id) || self.workers.values().any(|other| other.word(slot::ID) == id);
        declared && alleged && !decided && !ended && !elsewhere && self.is_in_flight(id)
    }

    /// Forgets what was answered; then as [`Retries::worker_died`]. Takes note of what the worker was ended for.
    pub(crate) fn lose(&mut self, index: u32, dead: &WorkerProcess) -> Option<Lost> {
        self.forget_answered();
        let (id, order) = alleged_order(dead);
        if dead.killed == Some(PAST_DEADLINE) && id != 0 {
            self.retries.was_endless(order);
        }
        self.retries.worker_died(index, id)
    }

    fn forget_answered(&mut self) {
        let listener = self.listener.as_fd();
        self.retries.keep(|id| listener::id_valid(listener, id) == Ok(true));
    }

    /// Gives up calls that do not come to an end in time.
    pub(crate) fn look_at_retries(&mut self, now: Instant, deadline: Duration) {
        self.forget_answered();
        let workers = &self.workers;
        let is_begun = |id, index| workers.get(&index).is_some_and(|worker| worker.word(slot::ID) == id);
        for (id, worker) in self.retries.take_due(now, grace(deadline), is_begun) {
            let unanswered = self.answer_caller(id, Answer::Fail(Errno::EIO));
            let worker = worker.and_then(|index| self.workers.get_mut(&index));
            if let Some(worker) = worker.filter(|worker| unanswered && worker.word(slot::ID) == id) {
                worker.interrupt(PAST_DEADLINE);
            }
        }
    }
}

/// The call that a worker's slot shows, as an order.
fn alleged_order(worker: &WorkerProcess) -> (NotificationId, Order) {
    let id = worker.word(slot::ID);
    let (arch, number) = worker.alleged_call();
    let args = std::array::from_fn(|i| worker.word(slot::ARGUMENTS + i));
    (id, Order::Call { id, tid: worker.word(slot::PID) as u32, arch, number, args })
}

#[cfg(test)]
mod tests;
