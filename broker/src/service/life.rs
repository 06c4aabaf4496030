//! The life of a tenant as a state machine: no clock, process or log inside. Time is what has passed since the service
//! started.
//!
//! | from | event | to |
//! |---|---|---|
//! | `Queued` | `Launched` | `Starting` |
//! | `Starting` | `Running` | `Running` |
//! | `Starting`, `Running` | `Stop`, `Restart` | `Stopping`: asked to end, then killed, then its broker killed |
//! | `Starting`, `Running` | `Ended`, `Failed` | `Stopping`: what is left of it is killed by its broker |
//! | `Starting`, `Running`, `Stopping` | `Gone` | what was asked for, or else `Waiting` or `Ended` by the policy |
//! | `Waiting` | time | `Queued` |
//! | `Waiting`, `Ended` | `Restart` | `Queued` |
//! | `Waiting`, `Queued` | `Stop` | `Ended` |
//!
//! A tenant is started again only once nothing is left of its last run.

use crate::config::tenant::{RestartPolicy, RestartWhen};
use std::time::Duration;

/// A run of this length ends a row of failures.
const LONG_RUN: Duration = Duration::from_secs(60);
/// Longest time between restarts, unless the policy's first is longer already.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// What a broker may take to end what is left of its tenant.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How a tenant ends that is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between the signal that asks and the kill.
    pub grace: Duration,
    /// Time between the kill and that of the broker.
    pub patience: Duration,
}

/// How far an end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The command got the signal that asks.
    Asked,
    /// Its broker was told to kill it, or does so anyway.
    Killed,
    /// Its broker was killed.
    Forced,
}

/// What follows an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// What the policy says.
    Policy,
    /// Another start.
    Start,
    /// Nothing.
    Rest,
}

/// Where a tenant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is to be started.
    Queued,
    /// Its broker was forked.
    Starting,
    /// Its command runs.
    Running,
    /// It is being ended.
    Stopping {
        /// How far that has come.
        phase: Phase,
        /// When the next phase begins.
        until: Duration,
        /// How long the phase after that lasts.
        patience: Duration,
        /// What follows.
        then: Then,
    },
    /// It starts again.
    Waiting {
        /// Then.
        until: Duration,
    },
    /// It does not start again by itself.
    Ended {
        /// Whether that is because it failed.
        failed: bool,
    },
}

/// What happens to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its broker was forked.
    Launched,
    /// Its command is about to be executed.
    Running,
    /// Its command ended, with the status that shells give it.
    Ended(u8),
    /// It could not be started, or not be served any longer.
    Failed {
        /// Status, as shells give it.
        status: u8,
        /// What to tell the operator.
        message: String,
    },
    /// Nothing is left of it.
    Gone,
    /// The operator wants it to end.
    Stop(Pace),
    /// The operator wants it to start anew.
    Restart(Pace),
    /// Time has passed.
    Time,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the signal that asks the command to end.
    Ask,
    /// Have its broker kill all of it.
    Kill,
    /// Kill its broker, and with it everything.
    Force,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Status, as shells give it.
    pub status: Option<u8>,
    /// What went wrong.
    pub message: Option<String>,
}

impl Outcome {
    /// Whether that is a reason for another start, to a policy that asks for one.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.message.is_some() || self.status != Some(0)
    }
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Duration,
    /// How long its command ran, if it did.
    pub ran: Option<Duration>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Life {
    policy: RestartPolicy,
    state: State,
    since: Duration,
    /// When its command ran, in this run.
    ran: Option<Duration>,
    /// How long the last start took.
    start: Option<Duration>,
    /// Runs ever started.
    starts: u64,
    /// Restarts in a row.
    restarts: u32,
    /// Runs ever that failed by themselves.
    failures: u64,
    /// Of this run.
    outcome: Outcome,
    /// The last run that is over.
    last: Option<End>,
}

impl Life {
    /// That of a tenant that is to be started.
    #[must_use]
    pub fn new(policy: RestartPolicy, now: Duration) -> Self {
        Life {
            policy,
            state: State::Queued,
            since: now,
            ran: None,
            start: None,
            starts: 0,
            restarts: 0,
            failures: 0,
            outcome: Outcome::default(),
            last: None,
        }
    }

    /// Has another policy hold from its next end on.
    pub fn set_policy(&mut self, policy: RestartPolicy) {
        self.policy = policy;
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.since
    }

    /// How long the last start took.
    #[must_use]
    pub fn start_time(&self) -> Option<Duration> {
        self.start
    }

    /// Runs ever started.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Restarts in a row.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Runs ever that failed by themselves.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The last run that is over, also while another one is under way.
    #[must_use]
    pub fn last(&self) -> Option<&End> {
        self.last.as_ref()
    }

    /// Whether processes of it may be there.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Starting | State::Running | State::Stopping { .. })
    }

    /// When time makes a difference next.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Stopping { until, .. } | State::Waiting { until } => Some(until),
            State::Queued | State::Starting | State::Running | State::Ended { .. } => None,
        }
    }

    /// Takes in an event. Returns what is to be done.
    pub fn step(&mut self, event: Event, now: Duration) -> Option<Action> {
        match event {
            Event::Launched => self.launched(now),
            Event::Running => self.running(now),
            Event::Ended(status) => self.ended(Outcome { status: Some(status), ..self.outcome.clone() }, now),
            Event::Failed { status, message } => {
                self.ended(Outcome { status: Some(status), message: Some(message) }, now)
            }
            Event::Gone => self.gone(now),
            Event::Stop(pace) => return self.stop(pace, Then::Rest, now),
            Event::Restart(pace) => {
                self.restarts = 0;
                return self.stop(pace, Then::Start, now);
            }
            Event::Time => return self.time(now),
        }
        None
    }

    fn enter(&mut self, state: State, now: Duration) {
        self.state = state;
        self.since = now;
    }

    fn launched(&mut self, now: Duration) {
        if self.state == State::Queued {
            self.starts += 1;
            self.ran = None;
            self.outcome = Outcome::default();
            self.enter(State::Starting, now);
        }
    }

    fn running(&mut self, now: Duration) {
        if self.state == State::Starting {
            self.ran = Some(now);
            self.start = Some(now.saturating_sub(self.since));
            self.enter(State::Running, now);
        }
    }

    /// The command is over: its broker ends what is left of it, and itself.
    fn ended(&mut self, outcome: Outcome, now: Duration) {
        if !self.is_live() {
            return;
        }
        self.outcome = outcome;
        if matches!(self.state, State::Starting | State::Running) {
            let until = now.saturating_add(PATIENCE);
            let state =
                State::Stopping { phase: Phase::Killed, until, patience: PATIENCE, then: Then::Policy };
            self.enter(state, now);
        }
    }

    fn gone(&mut self, now: Duration) {
        let then = match self.state {
            State::Starting | State::Running => Then::Policy,
            State::Stopping { then, .. } => then,
            State::Queued | State::Waiting { .. } | State::Ended { .. } => return,
        };
        if self.outcome == Outcome::default() && then == Then::Policy {
            self.outcome.message = Some("its broker was killed".to_owned());
        }
        self.failures += u64::from(then == Then::Policy && self.outcome.is_failure());
        let ran = self.ran.map(|ran| now.saturating_sub(ran));
        self.last = Some(End { outcome: self.outcome.clone(), at: now, ran });
        let state = match then {
            Then::Start => State::Queued,
            Then::Rest => State::Ended { failed: false },
            Then::Policy => self.by_policy(now),
        };
        self.enter(state, now);
    }

    fn by_policy(&mut self, now: Duration) -> State {
        let RestartPolicy { when, delay, most } = self.policy;
        let failed = self.outcome.is_failure();
        let wanted = match when {
            RestartWhen::Never => false,
            RestartWhen::OnFailure => failed,
            RestartWhen::Always => true,
        };
        if self.ran.is_some_and(|ran| now.saturating_sub(ran) >= LONG_RUN) {
            self.restarts = 0;
        }
        if !wanted || most.is_some_and(|most| self.restarts >= most) {
            return State::Ended { failed };
        }
        let doubled = delay.saturating_mul(1 << self.restarts.min(16));
        self.restarts = self.restarts.saturating_add(1);
        State::Waiting { until: now.saturating_add(doubled.min(LONGEST_DELAY.max(delay))) }
    }

    fn stop(&mut self, pace: Pace, then: Then, now: Duration) -> Option<Action> {
        match &mut self.state {
            State::Queued | State::Waiting { .. } | State::Ended { .. } => {
                let state = match then {
                    Then::Start => State::Queued,
                    Then::Policy | Then::Rest => State::Ended { failed: false },
                };
                if self.state != state {
                    self.enter(state, now);
                }
                None
            }
            State::Stopping { then: planned, until, patience, phase: _ } => {
                *planned = then;
                // Whoever is in more of a hurry has his way.
                *until = (*until).min(now.saturating_add(pace.grace));
                *patience = (*patience).min(pace.patience);
                None
            }
            State::Starting | State::Running => {
                let until = now.saturating_add(pace.grace);
                let state = State::Stopping { phase: Phase::Asked, until, patience: pace.patience, then };
                self.enter(state, now);
                Some(Action::Ask)
            }
        }
    }

    fn time(&mut self, now: Duration) -> Option<Action> {
        match &mut self.state {
            State::Waiting { until } if *until <= now => {
                self.enter(State::Queued, now);
                None
            }
            State::Stopping { phase, until, patience, .. } if *until <= now => {
                *until = now.saturating_add((*patience).max(Duration::from_millis(1)));
                let (next, action) = match phase {
                    Phase::Asked => (Phase::Killed, Action::Kill),
                    // Again and again: it may have a part in a kill that was not there before.
                    Phase::Killed | Phase::Forced => (Phase::Forced, Action::Force),
                };
                *phase = next;
                Some(action)
            }
            _ => None,
        }
    }
}
