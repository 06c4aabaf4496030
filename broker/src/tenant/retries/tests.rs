//! Calls by their times and their workers.

use super::*;

const DEADLINE: Duration = Duration::from_secs(4);
const GRACE: Duration = Duration::from_secs(1);

fn call(id: NotificationId, number: i32, first: u64) -> Order {
    Order::Call { id, tid: 1, arch: 0, number, args: [first, 0, 0, 0, 0, 0] }
}

/// Call 7, as it was made and taken now.
fn begun() -> (Retries, Instant) {
    let (mut retries, now) = (Retries::default(), Instant::now());
    retries.begin(7, call(7, 2, 0), Due::of_untaken(now, now, DEADLINE));
    (retries, now + DEADLINE)
}

#[test]
fn a_call_has_its_deadline_or_a_quarter_of_one_more() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let due = |now| Due::of_untaken(at(0), at(now), DEADLINE);
    assert_eq!(due(0), Due { at: at(4), extends: true });
    assert_eq!(due(3), Due { at: at(4), extends: true });
    assert_eq!(due(4), Due { at: at(5), extends: false });
    assert_eq!(due(9), Due { at: at(10), extends: false });
}

#[test]
fn an_order_is_given_once_and_anew_if_it_was_not_begun() {
    let (mut retries, _) = begun();
    assert!(retries.is_for_another(7, 1));
    assert_eq!(retries.take_orders(1).len(), 1);
    assert!(!retries.is_for_another(7, 1) && retries.is_for_another(7, 0));
    assert!(retries.take_orders(2).is_empty());
    assert!(retries.worker_died(2, 0).is_none() && retries.take_orders(3).is_empty());
    assert!(retries.worker_died(1, 0).is_none());
    assert_eq!(retries.take_orders(3).len(), 1);
}

#[test]
fn the_first_death_is_told_from_the_second() {
    let (mut retries, due) = begun();
    retries.take_orders(1);
    let lost = retries.worker_died(1, 7).expect("the call");
    assert_eq!((lost.again, lost.due.at), (false, due));
    assert!(!retries.has(7) && retries.take_orders(2).is_empty());
    retries.begin_again(7, call(7, 2, 0), due);
    retries.take_orders(3);
    assert!(retries.worker_died(3, 7).is_some_and(|lost| lost.again));
}

#[test]
fn what_is_due_is_given_up() {
    let (mut retries, due) = begun();
    retries.take_orders(1);
    assert!(retries.take_due(due - Duration::from_millis(1), GRACE, |_, _| true).is_empty());
    assert_eq!(retries.take_due(due, GRACE, |_, _| true), [(7, Some(1))]);
    assert!(!retries.has(7));
}

#[test]
fn what_waits_behind_another_has_more_time_once() {
    let (mut retries, due) = begun();
    retries.take_orders(1);
    let waits = |_, _| false;
    assert!(retries.take_due(due, GRACE, waits).is_empty());
    assert!(retries.take_due(due + GRACE / 2, GRACE, waits).is_empty());
    assert_eq!(retries.take_due(due + GRACE, GRACE, waits), [(7, Some(1))]);
    let (mut unordered, due) = begun();
    assert_eq!(unordered.take_due(due, GRACE, waits), [(7, None)], "it waits for nobody");
}

#[test]
fn what_was_answered_is_forgotten() {
    let (mut retries, _) = begun();
    retries.take_orders(1);
    retries.keep(|id| id == 7);
    assert!(retries.has(7));
    retries.keep(|_| false);
    assert!(retries.worker_died(1, 7).is_none() && retries.take_orders(2).is_empty());
}

#[test]
fn what_resembles_an_endless_call_comes_last() {
    let (mut retries, now) = (Retries::default(), Instant::now());
    for (id, number, first) in [(1, 5, 9), (2, 5, 8), (3, 6, 9), (4, 5, 9), (5, 6, 9)] {
        retries.begin(id, call(id, number, first), Due::of_untaken(now, now, DEADLINE));
    }
    let ids = |orders: Vec<Order>| -> Vec<NotificationId> {
        orders.iter().map(|order| if let Order::Call { id, .. } = order { *id } else { 0 }).collect()
    };
    assert_eq!(ids(retries.take_orders(1)), [1, 2, 3, 4, 5]);
    retries.worker_died(1, 0);
    retries.was_endless(call(0, 5, 9));
    assert_eq!(ids(retries.take_orders(2)), [3, 5, 2, 1, 4]);
}
