//! Calls that a worker has from the broker, and not from the listener: those that no worker took (see
//! [`untaken`](crate::untaken)), and those that a worker died of and that the next one handles once more.
//!
//! Of the latter the handlers have said that they may have such a call twice; the dead worker's slot alleges which call
//! it was, and that nothing was done for it. A worker that lies there harms a caller of its own tenant alone, as it may
//! anyway. No call is handled a third time, and its caller has an answer within the deadline of the first attempt: so a
//! call that took longer than half of it is not handled again, and one that the broker ended its worker for has no time
//! left.

use crate::permit::Phase;
use crate::sys::listener::{self, Answer};
use crate::tenant::Tenant;
use crate::worker_process::{PAST_DEADLINE, WorkerProcess};
use kcov_proto::message::{NotificationId, Order};
use kcov_proto::{Errno, slot};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use tracing::info;

/// One call.
#[derive(Debug)]
struct Retry {
    /// The worker that it was ordered from; `None` while there is none.
    worker: Option<u32>,
    order: Order,
    /// When its caller is to have an answer.
    due: Instant,
}

/// Such calls of one tenant.
#[derive(Debug, Default)]
pub struct Retries {
    calls: HashMap<NotificationId, Retry>,
}

impl Retries {
    /// Has a call handled by a worker. The order goes to the next worker by [`take_orders`](Self::take_orders).
    pub fn begin(&mut self, id: NotificationId, order: Order, due: Instant) {
        self.calls.insert(id, Retry { worker: None, order, due });
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
        orders.sort_unstable_by_key(|(id, _)| *id);
        orders.into_iter().map(|(_, order)| order).collect()
    }

    /// `worker` is dead. What it had in flight was its last attempt: `true`; what it had not begun is for the next one.
    pub fn worker_died(&mut self, worker: u32, in_flight: NotificationId) -> bool {
        let lost = self.calls.remove(&in_flight).is_some();
        for retry in self.calls.values_mut().filter(|retry| retry.worker == Some(worker)) {
            retry.worker = None;
        }
        lost
    }

    /// Forgets the calls that are not in flight any more: their workers do not say that they answered.
    pub fn keep(&mut self, is_in_flight: impl Fn(NotificationId) -> bool) {
        self.calls.retain(|id, _| is_in_flight(*id));
    }

    /// Calls that are due, with the worker that has the order; they are given up.
    pub fn take_due(&mut self, now: Instant) -> Vec<(NotificationId, Option<u32>)> {
        self.calls.extract_if(|_, retry| retry.due <= now).map(|(id, retry)| (id, retry.worker)).collect()
    }
}

impl Tenant {
    /// Has the next worker handle the call that a dead one had in flight, if that may be and there is the time. Says
    /// whether it does.
    pub(crate) fn retry(&mut self, worker: &WorkerProcess, now: Instant, deadline: Duration) -> bool {
        let id = worker.word(slot::ID);
        let received = worker.received();
        let in_time = now.saturating_duration_since(received) < deadline / 2;
        if !in_time || !self.is_repeatable(worker, id) {
            return false;
        }
        let (arch, number) = worker.alleged_call();
        let tid = worker.word(slot::PID) as u32;
        let args = std::array::from_fn(|i| worker.word(slot::ARGUMENTS + i));
        self.retries.begin(id, Order::Call { id, tid, arch, number, args }, received + deadline);
        self.counters.retries += 1;
        let call = crate::call_name::of(arch, number);
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

    /// Forgets what was answered; then as [`Retries::worker_died`].
    pub(crate) fn was_last_attempt(&mut self, dead: u32, in_flight: NotificationId) -> bool {
        self.forget_answered();
        self.retries.worker_died(dead, in_flight)
    }

    fn forget_answered(&mut self) {
        let listener = self.listener.as_fd();
        self.retries.keep(|id| listener::id_valid(listener, id) == Ok(true));
    }

    /// Gives up calls that do not come to an end in time.
    pub(crate) fn look_at_retries(&mut self, now: Instant) {
        self.forget_answered();
        for (id, worker) in self.retries.take_due(now) {
            let unanswered = self.answer_caller(id, Answer::Fail(Errno::EIO));
            let worker = worker.and_then(|index| self.workers.get_mut(&index));
            if let Some(worker) = worker.filter(|worker| unanswered && worker.word(slot::ID) == id) {
                worker.interrupt(PAST_DEADLINE);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> (Retries, Instant) {
        let mut retries = Retries::default();
        let due = Instant::now() + Duration::from_secs(1);
        retries.begin(7, Order::Call { id: 7, tid: 1, arch: 0, number: 2, args: [0; 6] }, due);
        (retries, due)
    }

    #[test]
    fn an_order_is_given_once_and_anew_if_it_was_not_begun() {
        let (mut retries, _) = begun();
        assert!(retries.is_for_another(7, 1));
        assert_eq!(retries.take_orders(1).len(), 1);
        assert!(!retries.is_for_another(7, 1) && retries.is_for_another(7, 0));
        assert!(retries.take_orders(2).is_empty());
        assert!(!retries.worker_died(2, 0) && retries.take_orders(3).is_empty());
        assert!(!retries.worker_died(1, 0));
        assert_eq!(retries.take_orders(3).len(), 1);
    }

    #[test]
    fn a_second_death_is_the_last() {
        let (mut retries, _) = begun();
        assert!(retries.has(7));
        retries.take_orders(1);
        assert!(retries.worker_died(1, 7));
        assert!(!retries.has(7) && retries.take_orders(2).is_empty());
    }

    #[test]
    fn what_is_due_is_given_up() {
        let (mut retries, due) = begun();
        retries.take_orders(1);
        assert!(retries.take_due(due - Duration::from_millis(1)).is_empty());
        assert_eq!(retries.take_due(due), [(7, Some(1))]);
        assert!(!retries.has(7));
    }

    #[test]
    fn what_was_answered_is_forgotten() {
        let (mut retries, _) = begun();
        retries.take_orders(1);
        retries.keep(|id| id == 7);
        assert!(retries.has(7));
        retries.keep(|_| false);
        assert!(!retries.worker_died(1, 7) && retries.take_orders(2).is_empty());
    }
}
