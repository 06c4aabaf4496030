//! A tenant as readers show it.

use kcov_proto::quota::Refusals;
use kcov_proto::tally::Tally;
use kcov_proto::view::{Counts, Name, Pids, View};
use nix::unistd::{Uid, User};
use serde::Serialize;

/// What is known of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It runs.
    Live,
    /// It is there, and has not written for seconds: it is stopped, or gets no time; or it is in another PID namespace
    /// and may be dead.
    Silent,
    /// It ended without its segment having been removed: it was killed, and its helpers with it.
    Dead,
}

impl State {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Live => "live",
            State::Silent => "silent",
            State::Dead => "dead",
        }
    }
}

/// A tenant, as its broker showed it last.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tenant {
    /// Its name.
    pub name: Name,
    /// Of its broker.
    pub state: State,
    /// Who runs its broker; its command may run as another one.
    pub user: String,
    /// The same by number.
    pub uid: u32,
    /// Who its command runs as, as far as the broker says so.
    pub command_user: Option<String>,
    /// Process id of the broker, in its own PID namespace.
    pub pid: u32,
    /// The others.
    pub pids: Pids,
    /// Name of the segment.
    pub segment: String,
    /// From the start to what is shown.
    pub uptime_seconds: f64,
    /// How old it is.
    pub age_seconds: f64,
    /// Start, nanoseconds of `CLOCK_MONOTONIC`.
    #[serde(skip)]
    pub started: u64,
    /// When it was shown, likewise.
    #[serde(skip)]
    pub beat: u64,
    /// What the broker counts: the fields stand beside the others.
    #[serde(flatten)]
    pub counts: Counts,
    /// What was refused over a quota, by quota.
    #[serde(rename = "quota_refusals_by_quota")]
    pub refusals: Refusals,
    /// What workers count.
    #[serde(flatten)]
    pub tally: Tally,
    /// A time that half of the timed notifications are below.
    pub latency_p50_ns: Option<u64>,
    /// A time that 99 of 100 are below.
    pub latency_p99_ns: Option<u64>,
}

impl Tenant {
    /// What `view`, read at `now` from the segment of that name, shows.
    #[must_use]
    pub fn new(segment: &str, uid: u32, state: State, now: u64, view: View) -> Self {
        let View { identity, name, started, beat, pids, counts, tally, refusals, user } = view;
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
        Tenant {
            name,
            state,
            user: user_name(uid),
            uid,
            command_user: user.map(user_name),
            pid: identity.pid,
            pids,
            segment: segment.to_owned(),
            uptime_seconds: seconds(started, beat),
            age_seconds: seconds(beat, now),
            started,
            beat,
            counts,
            refusals,
            latency_p50_ns: tally.latency.quantile(0.5),
            latency_p99_ns: tally.latency.quantile(0.99),
            tally,
        }
    }

    /// Who its command runs as, for people.
    #[must_use]
    pub fn runs_as(&self) -> &str {
        self.command_user.as_deref().unwrap_or("-")
    }
}

/// The name of a user, or the number where there is none.
fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}
