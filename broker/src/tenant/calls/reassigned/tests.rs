//! Reassigned calls: their times and their workers.

use super::*;

const DEADLINE: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(1);

fn call(id: NotificationId, number: i32, first: u64) -> Order {
    Order::Call { id, tid: 1, arch: 0, number, args: [first, 0, 0, 0, 0, 0] }
}

/// Call 7, as it was made and taken now.
fn added() -> (Reassigned, Instant) {
    let (mut calls, now) = (Reassigned::new(DEADLINE), Instant::now());
    calls.add(7, call(7, 2, 0), Due::of_waiting(now, now, DEADLINE));
    (calls, now + DEADLINE)
}

/// The calls that are due `now`, with their workers, which have begun them or not.
fn due_now(calls: &mut Reassigned, now: Instant, begun: bool) -> Vec<(NotificationId, Option<u32>)> {
    calls.take_due(now, |_, _| begun).into_iter().map(|(id, worker, _)| (id, worker)).collect()
}

#[test]
fn a_call_has_its_deadline_or_at_least_a_quarter_of_it() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let due = |now| Due::of_waiting(at(0), at(now), DEADLINE);
    assert_eq!(due(0), Due { at: at(4), extends: true });
    assert_eq!(due(3), Due { at: at(4), extends: true });
    assert_eq!(due(4), Due { at: at(5), extends: false });
    assert_eq!(due(9), Due { at: at(10), extends: false });
}

#[test]
fn an_order_is_given_once_and_again_if_its_worker_died_before_it() {
    let (mut calls, _) = added();
    assert!(calls.is_for_another(7, 1));
    assert_eq!(calls.take_orders(1).len(), 1);
    assert!(!calls.is_for_another(7, 1) && calls.is_for_another(7, 0));
    assert!(calls.take_orders(2).is_empty());
    assert!(calls.worker_died(2, 0).is_none() && calls.take_orders(3).is_empty());
    assert!(calls.worker_died(1, 0).is_none());
    assert_eq!(calls.take_orders(3).len(), 1);
}

#[test]
fn a_call_is_handled_at_most_twice() {
    let (mut calls, due) = added();
    calls.take_orders(1);
    let lost = calls.worker_died(1, 7).expect("the call");
    assert_eq!((lost.again, lost.due.at), (false, due));
    assert!(!calls.has(7) && calls.take_orders(2).is_empty());
    assert!(calls.add_again(7, call(7, 2, 0), Some(lost), due - DEADLINE, due - DEADLINE));
    calls.take_orders(3);
    let lost = calls.worker_died(3, 7).expect("the call");
    assert!(!calls.add_again(7, call(7, 2, 0), Some(lost), due - DEADLINE, due - DEADLINE));
}

#[test]
fn a_call_that_took_half_of_its_deadline_is_not_handled_again() {
    let (mut calls, start) = (Reassigned::new(DEADLINE), Instant::now());
    assert!(!calls.add_again(7, call(7, 2, 0), None, start, start + DEADLINE / 2));
    assert!(calls.add_again(7, call(7, 2, 0), None, start, start + DEADLINE / 4));
}

#[test]
fn a_call_that_is_due_is_removed() {
    let (mut calls, due) = added();
    calls.take_orders(1);
    assert!(calls.take_due(due - Duration::from_millis(1), |_, _| true).is_empty());
    assert_eq!(due_now(&mut calls, due, true), [(7, Some(1))]);
    assert!(!calls.has(7));
}

#[test]
fn a_call_that_waits_behind_another_gets_more_time_once() {
    let (mut calls, due) = added();
    calls.take_orders(1);
    let waits = |_, _| false;
    assert!(calls.take_due(due, waits).is_empty());
    assert!(calls.take_due(due + GRACE / 2, waits).is_empty());
    assert_eq!(due_now(&mut calls, due + GRACE, false), [(7, Some(1))]);
    let (mut unordered, due) = added();
    assert_eq!(due_now(&mut unordered, due, false), [(7, None)], "no worker has it");
}

#[test]
fn an_answered_call_is_forgotten() {
    let (mut calls, _) = added();
    calls.take_orders(1);
    calls.forget_answered(|id| id == 7);
    assert!(calls.has(7));
    calls.forget_answered(|_| false);
    assert!(calls.worker_died(1, 7).is_none() && calls.take_orders(2).is_empty());
}

#[test]
fn calls_that_resemble_a_hung_call_come_last() {
    let (mut calls, now) = (Reassigned::new(DEADLINE), Instant::now());
    for (id, number, first) in [(1, 5, 9), (2, 5, 8), (3, 6, 9), (4, 5, 9), (5, 6, 9)] {
        calls.add(id, call(id, number, first), Due::of_waiting(now, now, DEADLINE));
    }
    let ids = |orders: Vec<Order>| -> Vec<NotificationId> {
        orders.iter().map(|order| if let Order::Call { id, .. } = order { *id } else { 0 }).collect()
    };
    assert_eq!(ids(calls.take_orders(1)), [1, 2, 3, 4, 5]);
    calls.worker_died(1, 0);
    calls.note_hung(call(0, 5, 9));
    assert_eq!(ids(calls.take_orders(2)), [3, 5, 2, 1, 4]);
}
