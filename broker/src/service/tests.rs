//! Tests of the state machine: its rules, and its invariants under random events.

use super::life::{Action, End, Event, Life, Outcome, PATIENCE, Pace, State, StopPhase};
use crate::config::tenant::{RestartPolicy, RestartWhen};
use proptest::prelude::*;
use std::time::Duration;

const PACE: Pace = Pace { grace: Duration::from_secs(10), patience: PATIENCE };

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn life(when: RestartWhen, most: Option<u32>) -> Life {
    Life::new(RestartPolicy { when, delay: seconds(1), most }, Duration::ZERO)
}

fn running(when: RestartWhen, most: Option<u32>) -> Life {
    let mut life = life(when, most);
    run(&mut life, 0);
    life
}

fn run(life: &mut Life, now: u64) {
    assert_eq!(life.step(Event::Launched, seconds(now)), None);
    assert_eq!(life.step(Event::Running, seconds(now)), None);
    assert_eq!(life.state(), State::Running);
}

fn end(life: &mut Life, status: u8, now: u64) {
    life.step(Event::Ended(status), seconds(now));
    life.step(Event::Gone, seconds(now));
}

#[test]
fn the_policy_decides_whether_a_tenant_restarts() {
    for (when, status, state) in [
        (RestartWhen::Never, 1, State::Ended { failed: true }),
        (RestartWhen::Never, 0, State::Ended { failed: false }),
        (RestartWhen::OnFailure, 0, State::Ended { failed: false }),
        (RestartWhen::OnFailure, 1, State::Waiting { until: seconds(6) }),
        (RestartWhen::Always, 0, State::Waiting { until: seconds(6) }),
    ] {
        let mut life = running(when, None);
        end(&mut life, status, 5);
        assert_eq!(life.state(), state, "{when:?} {status}");
    }
}

#[test]
fn the_delay_doubles_with_each_restart_in_a_row() {
    let mut life = running(RestartWhen::Always, Some(8));
    let mut delays = Vec::new();
    let mut now = 0;
    loop {
        end(&mut life, 1, now);
        let State::Waiting { until } = life.state() else { break };
        delays.push((until - seconds(now)).as_secs());
        now = until.as_secs();
        life.step(Event::Time, until);
        assert_eq!(life.state(), State::Queued);
        run(&mut life, now);
    }
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!((life.state(), life.starts(), life.restarts()), (State::Ended { failed: true }, 9, 8));
}

#[test]
fn a_long_run_resets_the_restarts() {
    let mut life = running(RestartWhen::Always, Some(1));
    end(&mut life, 1, 1);
    life.step(Event::Time, seconds(2));
    run(&mut life, 2);
    end(&mut life, 1, 100);
    assert_eq!((life.state(), life.restarts()), (State::Waiting { until: seconds(101) }, 1));
}

#[test]
fn a_tenant_that_does_not_end_is_killed_and_then_its_broker() {
    let mut life = running(RestartWhen::Always, None);
    assert_eq!(life.step(Event::Stop(PACE), seconds(0)), Some(Action::Signal));
    assert_eq!(life.step(Event::Time, seconds(9)), None);
    assert_eq!(life.step(Event::Time, seconds(10)), Some(Action::Kill));
    assert_eq!(life.step(Event::Time, seconds(15)), Some(Action::Force));
    assert_eq!(life.step(Event::Time, seconds(20)), Some(Action::Force));
    life.step(Event::Gone, seconds(21));
    assert_eq!(life.state(), State::Ended { failed: false });
}

#[test]
fn the_last_request_of_the_operator_wins() {
    let mut life = running(RestartWhen::Never, None);
    life.step(Event::Restart(PACE), seconds(0));
    life.step(Event::Stop(PACE), seconds(1));
    end(&mut life, 143, 2);
    assert_eq!(life.state(), State::Ended { failed: false });
    life.step(Event::Restart(PACE), seconds(3));
    assert_eq!(life.state(), State::Queued);
    life.step(Event::Stop(PACE), seconds(4));
    assert_eq!(life.state(), State::Ended { failed: false });
}

#[test]
fn the_death_of_a_broker_is_a_failure_with_a_message() {
    let mut life = running(RestartWhen::OnFailure, None);
    life.step(Event::Gone, seconds(1));
    assert_eq!(life.state(), State::Waiting { until: seconds(2) });
    let last = life.last().expect("an end");
    assert!(last.outcome.message.as_deref().is_some_and(|message| message.contains("broker")));
}

#[test]
fn a_failure_keeps_its_message_when_a_status_follows() {
    let mut life = running(RestartWhen::Never, None);
    life.step(Event::Failed { status: 127, message: "not found".into() }, seconds(1));
    end(&mut life, 127, 1);
    let last = &life.last().expect("an end").outcome;
    assert_eq!((last.status, last.message.as_deref()), (Some(127), Some("not found")));
}

#[test]
fn the_last_end_is_known_while_another_run_is_under_way() {
    let mut life = running(RestartWhen::Always, None);
    assert_eq!((life.last(), life.failures()), (None, 0));
    end(&mut life, 139, 7);
    life.step(Event::Time, seconds(8));
    run(&mut life, 8);
    let outcome = Outcome { status: Some(139), message: None };
    let first = End { outcome, at: seconds(7), ran: Some(seconds(7)) };
    assert_eq!((life.last(), life.failures()), (Some(&first), 1));
    // A requested end is not a failure, whatever its status.
    life.step(Event::Stop(PACE), seconds(9));
    end(&mut life, 143, 10);
    let second = life.last().expect("an end");
    assert_eq!((second.outcome.status, second.ran, life.failures()), (Some(143), Some(seconds(2)), 1));
}

fn events() -> impl Strategy<Value = Event> {
    let pace = Pace { grace: seconds(3), patience: seconds(2) };
    prop_oneof![
        Just(Event::Launched),
        Just(Event::Running),
        any::<u8>().prop_map(Event::Ended),
        Just(Event::Failed { status: 125, message: "x".into() }),
        Just(Event::Gone),
        Just(Event::Stop(pace)),
        Just(Event::Restart(pace)),
        Just(Event::Time),
    ]
}

proptest! {
    /// With any events in any order: only live tenants have actions, a tenant that is stopped is forced to
    /// end within its pace, waiting states have a due time, and each start is counted once.
    #[test]
    fn invariants_hold_for_any_events(history in prop::collection::vec((events(), 0u64..4), 0..200)) {
        let mut life = life(RestartWhen::OnFailure, Some(3));
        let mut now = Duration::ZERO;
        let mut stopped: Option<Duration> = None;
        for (event, passed) in history {
            now += seconds(passed);
            // As the manager does before other events.
            life.step(Event::Time, now);
            let (was_live, starts, is_time) = (life.is_live(), life.starts(), event == Event::Time);
            let action = life.step(event, now);
            prop_assert!(action.is_none() || was_live);
            prop_assert!(life.starts() - starts <= 1);
            prop_assert_eq!(life.starts() > starts, !was_live && life.is_live());
            match life.state() {
                State::Stopping { phase, until, .. } => {
                    let since = *stopped.get_or_insert(now);
                    // At most three phases lie between the request and the kill of the broker.
                    prop_assert!(phase == StopPhase::Forced || until <= since + seconds(3) + PATIENCE + seconds(12));
                    prop_assert!(!is_time || until > now);
                    prop_assert_eq!(life.due(), Some(until));
                }
                State::Waiting { until } => {
                    stopped = None;
                    prop_assert!(!is_time || until > now);
                    prop_assert!(until <= now + seconds(60));
                }
                _ => {
                    stopped = None;
                    prop_assert_eq!(life.due(), None);
                }
            }
            prop_assert!(life.restarts() <= 3);
        }
    }
}
