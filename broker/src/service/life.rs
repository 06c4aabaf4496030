//! The life of a tenant as a state machine, without clocks, processes or logs. Times are relative to the
//! start of the service.
//!
//! | from | event | to |
//! |---|---|---|
//! | `Queued` | `Launched` | `Starting` |
//! | `Starting` | `Running` | `Running` |
//! | `Starting`, `Running` | `Stop`, `Restart` | `Stopping`: it gets its stop signal, then is killed, then its broker is killed |
//! | `Starting`, `Running` | `Ended`, `Failed` | `Stopping`: its broker kills the remaining processes |
//! | `Stopping` | `Silent` | `Stopping`: its broker is killed |
//! | `Starting`, `Running`, `Stopping` | `Gone` | `Queued` or `Ended` as requested, or `Waiting` or `Ended` by the policy |
//! | `Waiting` | `Time` | `Queued` |
//! | `Waiting`, `Ended` | `Restart` | `Queued` |
//! | `Waiting`, `Queued` | `Stop` | `Ended` |
//!
//! A tenant is only restarted after all processes of its last run have ended.

use crate::config::tenant::{RestartPolicy, RestartWhen};
use std::time::Duration;

/// A run of at least this time resets the count of restarts.
const LONG_RUN: Duration = Duration::from_secs(60);
/// Maximum delay of a restart, unless the policy's initial delay is longer.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Time that a broker may take to end the remaining processes of its tenant.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Time that the spawner of a killed broker may take to end the tenant.
const FORCE_AGAIN: Duration = Duration::from_secs(3);

/// How fast a tenant is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between the stop signal and SIGKILL.
    pub grace: Duration,
    /// Time between SIGKILL and the kill of the broker.
    pub patience: Duration,
}

/// The phase of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopPhase {
    /// The command got its stop signal.
    Signalled,
    /// Its broker kills it.
    Killed,
    /// Its broker was killed.
    Forced,
}

/// What happens after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The policy decides.
    Policy,
    /// The tenant is started again.
    Start,
    /// The tenant stays ended.
    Stay,
}

/// The state of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its start, which only the number of other starts delays.
    Queued,
    /// Its broker was forked.
    Starting,
    /// Its command runs.
    Running,
    /// It is being ended.
    Stopping {
        /// The current phase.
        phase: StopPhase,
        /// When the next phase begins.
        until: Duration,
        /// Duration of the phase after that.
        patience: Duration,
        /// What happens afterwards.
        then: Then,
    },
    /// It waits for its restart.
    Waiting {
        /// When it is restarted.
        until: Duration,
    },
    /// It has ended and is not restarted.
    Ended {
        /// Whether it failed.
        failed: bool,
    },
}

/// An event in the life of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its broker was forked.
    Launched,
    /// Its command is about to be executed.
    Running,
    /// Its command ended with this status, as shells report it.
    Ended(u8),
    /// It could not be started, or cannot be served any longer.
    Failed {
        /// Exit status.
        status: u8,
        /// Message for the operator.
        message: String,
    },
    /// All its processes have ended.
    Gone,
    /// An operator stops it.
    Stop(Pace),
    /// An operator restarts it.
    Restart(Pace),
    /// Its broker did not confirm the stop signal in time.
    Silent,
    /// Time has passed.
    Time,
}

/// What the manager must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the command its stop signal.
    Signal,
    /// Tell its broker to kill all its processes.
    Kill,
    /// Kill its broker, which ends all its processes.
    Force,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status, as shells report it.
    pub status: Option<u8>,
    /// Why it failed, if known.
    pub message: Option<String>,
}

impl Outcome {
    /// Whether the run failed.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.message.is_some() || self.status != Some(0)
    }
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Duration,
    /// How long its command ran, if it was started.
    pub ran: Option<Duration>,
}

/// The life of a tenant.
#[derive(Clone, Debug)]
pub struct Life {
    policy: RestartPolicy,
    state: State,
    /// When it entered the state.
    since: Duration,
    /// When the command of this run was started.
    ran: Option<Duration>,
    /// How long the last start took.
    start: Option<Duration>,
    /// Number of starts.
    starts: u64,
    /// Restarts since the last long run.
    restarts: u32,
    /// Failed runs, not counting those that were stopped.
    failures: u64,
    /// Outcome of this run so far.
    outcome: Outcome,
    /// The end of the last run.
    last: Option<End>,
}

impl Life {
    /// The life of a new tenant, which is queued for its start.
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

    /// Replaces the policy. It applies from the next end on.
    pub fn set_policy(&mut self, policy: RestartPolicy) {
        self.policy = policy;
    }

    /// The current state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When the tenant entered the current state.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.since
    }

    /// How long the last start took.
    #[must_use]
    pub fn start_time(&self) -> Option<Duration> {
        self.start
    }

    /// Number of starts.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// Restarts since the last long run.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Failed runs, not counting those that were stopped.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// The end of the last run that has ended, even if another one is under way.
    #[must_use]
    pub fn last(&self) -> Option<&End> {
        self.last.as_ref()
    }

    /// Whether the tenant may have processes.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Starting | State::Running | State::Stopping { .. })
    }

    /// When the next `Time` event has an effect.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Stopping { until, .. } | State::Waiting { until } => Some(until),
            State::Queued | State::Starting | State::Running | State::Ended { .. } => None,
        }
    }

    /// Handles an event. Returns what the manager must do.
    pub fn step(&mut self, event: Event, now: Duration) -> Option<Action> {
        match event {
            Event::Launched => self.launched(now),
            Event::Running => self.running(now),
            Event::Ended(status) => self.ended(Outcome { status: Some(status), ..self.outcome.clone() }, now),
            Event::Failed { status, message } => {
                self.ended(Outcome { status: Some(status), message: Some(message) }, now)
            }
            Event::Gone => self.gone(now),
            Event::Stop(pace) => return self.stop(pace, Then::Stay, now),
            Event::Restart(pace) => {
                self.restarts = 0;
                return self.stop(pace, Then::Start, now);
            }
            Event::Silent => return self.silent(now),
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

    /// The command ended. Its broker ends the remaining processes and exits.
    fn ended(&mut self, outcome: Outcome, now: Duration) {
        if !self.is_live() {
            return;
        }
        self.outcome = outcome;
        if matches!(self.state, State::Starting | State::Running) {
            let until = now.saturating_add(PATIENCE);
            let state =
                State::Stopping { phase: StopPhase::Killed, until, patience: PATIENCE, then: Then::Policy };
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
            Then::Stay => State::Ended { failed: false },
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
                    Then::Policy | Then::Stay => State::Ended { failed: false },
                };
                if self.state != state {
                    self.enter(state, now);
                }
                None
            }
            State::Stopping { then: planned, until, patience, phase: _ } => {
                *planned = then;
                // The shorter deadline wins.
                *until = (*until).min(now.saturating_add(pace.grace));
                *patience = (*patience).min(pace.patience);
                None
            }
            State::Starting | State::Running => {
                let until = now.saturating_add(pace.grace);
                let state =
                    State::Stopping { phase: StopPhase::Signalled, until, patience: pace.patience, then };
                self.enter(state, now);
                Some(Action::Signal)
            }
        }
    }

    fn silent(&mut self, now: Duration) -> Option<Action> {
        let State::Stopping { phase, until, .. } = &mut self.state else { return None };
        if *phase == StopPhase::Forced {
            return None;
        }
        (*phase, *until) = (StopPhase::Forced, now.saturating_add(FORCE_AGAIN));
        Some(Action::Force)
    }

    fn time(&mut self, now: Duration) -> Option<Action> {
        match &mut self.state {
            State::Waiting { until } if *until <= now => {
                self.enter(State::Queued, now);
                None
            }
            State::Stopping { phase, until, patience, .. } if *until <= now => {
                let next =
                    if *phase == StopPhase::Signalled { *patience } else { FORCE_AGAIN.min(*patience) };
                *until = now.saturating_add(next.max(Duration::from_millis(1)));
                let (next, action) = match phase {
                    StopPhase::Signalled => (StopPhase::Killed, Action::Kill),
                    // Repeated, because the manager may only now know the process that must be killed.
                    StopPhase::Killed | StopPhase::Forced => (StopPhase::Forced, Action::Force),
                };
                *phase = next;
                Some(action)
            }
            _ => None,
        }
    }
}
