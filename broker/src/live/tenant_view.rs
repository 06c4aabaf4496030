//! A tenant as monitoring commands show it.

use kcov_proto::quota::Refusals;
use kcov_proto::sections::Sections;
use kcov_proto::tally::Tally;
use kcov_proto::view::{Counts, Name, Pids, View};
use nix::unistd::{Uid, User};
use serde::Serialize;

/// State of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Running.
    Live,
    /// No write for seconds: stopped or starved of CPU time.
    Silent,
    /// Ended without removing its segment: the broker and its spawner were killed.
    Dead,
}

impl State {
    /// The name in tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Live => "live",
            State::Silent => "silent",
            State::Dead => "dead",
        }
    }
}

/// A tenant, as last published by its broker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TenantView {
    /// Name of the tenant.
    pub name: Name,
    /// State of its broker.
    pub state: State,
    /// User who runs its broker; the command may run as another user.
    pub user: String,
    /// The user id of `user`.
    pub uid: u32,
    /// User of its command, if published.
    pub command_user: Option<String>,
    /// Pid of the broker, in its own PID namespace.
    pub pid: u32,
    /// Whether that is the PID namespace of this process.
    #[serde(skip)]
    pub is_here: bool,
    /// Pids of the other processes.
    pub pids: Pids,
    /// Name of the segment file.
    pub segment: String,
    /// Time from the start to the last write.
    pub uptime_seconds: f64,
    /// Age of the last write.
    pub age_seconds: f64,
    /// Time of the start, `CLOCK_MONOTONIC` in nanoseconds.
    #[serde(skip)]
    pub started: u64,
    /// Time of the last write, likewise.
    #[serde(skip)]
    pub beat: u64,
    /// Counters of the broker.
    #[serde(flatten)]
    pub counts: Counts,
    /// Refused requests, by quota.
    #[serde(rename = "quota_refusals_by_quota")]
    pub refusals: Refusals,
    /// Remote sections.
    pub sections: Sections,
    /// Counters of the workers.
    #[serde(flatten)]
    pub tally: Tally,
    /// Upper bound of the median time of a timed notification.
    pub latency_p50_ns: Option<u64>,
    /// Upper bound of the 99th percentile.
    pub latency_p99_ns: Option<u64>,
}

impl TenantView {
    /// Converts a `view` that was read at `now` from the file `segment`, owned by `uid`.
    #[must_use]
    pub fn new(segment: &str, uid: u32, state: State, now: u64, view: View) -> Self {
        let View { identity, name, started, beat, pids, counts, tally, refusals, user, sections } = view;
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e9;
        TenantView {
            name,
            state,
            user: user_name(uid),
            uid,
            command_user: user.map(user_name),
            pid: identity.pid,
            is_here: true,
            pids,
            segment: segment.to_owned(),
            uptime_seconds: seconds(started, beat),
            age_seconds: seconds(beat, now),
            started,
            beat,
            counts,
            refusals,
            sections,
            latency_p50_ns: tally.latency.quantile(0.5),
            latency_p99_ns: tally.latency.quantile(0.99),
            tally,
        }
    }

    /// User of its command; `-` if unknown.
    #[must_use]
    pub fn runs_as(&self) -> &str {
        self.command_user.as_deref().unwrap_or("-")
    }
}

/// The name of a user, or the user id if there is no name.
fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}
