//! What the log says of a tenant: each kind of message is bounded, and what has no line of its own is counted.
//!
//! A tenant or a worker can cause any of these messages as often as it likes. So the first ones have a line each, and the
//! others a line together now and then: a handler that crashes over every call costs its own time, and not the operator's
//! disk.

use super::workers::process::{AllegedCall, Worker};
use crate::artifact::End;
use crate::logs::bound::{Bound, Limit, Repeats};
use kcov_proto::quota::{Quota, Quotas, Refusals, Row};
use kcov_proto::site::ID_BITS;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tracing::field::display;
use tracing::{info, warn};

/// Lines of crashes: as many one by one as a fuzzer has when all is well.
const CRASHES: Limit = Limit { burst: 256, interval: Duration::from_secs(1) };
/// Colliding ids that are logged. An honest worker reports 16.
const MAX_COLLISIONS: u32 = 256;
/// Characters of a text from a worker.
const MAX_TEXT: usize = 1024;

/// Refusals over quotas: the first of each quota at once, later ones together.
#[derive(Clone, Copy, Debug, Default)]
struct RefusalLines {
    counted: Refusals,
    by_quota: [Repeats; Quota::COUNT],
}

impl RefusalLines {
    /// The quotas to be reported now, with the number of refusals since the last report; `so_far` is their number up to
    /// now.
    fn take(&mut self, so_far: &Refusals, now: Instant, all: bool) -> Vec<(Quota, u64)> {
        let mut due = Vec::new();
        for (quota, count) in so_far.iter() {
            let new = count.saturating_sub(self.counted.of(quota));
            self.counted.add(quota, new);
            let repeats = &mut self.by_quota[quota as usize];
            repeats.add(new);
            due.extend(repeats.take(now, all).map(|times| (quota, times)));
        }
        due
    }
}

/// Collections of clients, from `ENABLE` to `DISABLE`, as long as none of them left a record.
#[derive(Clone, Copy, Debug, Default)]
struct Collections {
    empty: u64,
    /// Whether one left a record, or the hint was given: nothing is to be said any more.
    is_over: bool,
}

impl Collections {
    /// Empty collections after which the hint is given before the end of the run.
    const MANY: u64 = 100;

    fn add(&mut self, is_empty: bool) {
        self.empty += u64::from(is_empty);
        self.is_over |= !is_empty;
        if self.empty == Self::MANY {
            self.report();
        }
    }

    fn report(&mut self) {
        if self.empty > 0 && !std::mem::replace(&mut self.is_over, true) {
            warn!(
                event = "nothing_collected",
                times = self.empty,
                "a client collected, and none of its calls left a record: --trace does not name the calls that it made \
                 while it was enabled"
            );
        }
    }
}

/// The log of one tenant.
#[derive(Debug, Default)]
pub struct TenantLog {
    crashes: Bound,
    stuck_readers: Repeats,
    refusals: RefusalLines,
    /// Handlers that were reported as recording nothing.
    silent: BTreeSet<String>,
    collections: Collections,
    collisions: u32,
}

impl TenantLog {
    /// A worker ended while it was not to. `call`: what its slot shows.
    pub fn crash(&mut self, worker: &Worker, call: &AllegedCall, now: Instant) {
        if self.crashes.add(now, CRASHES) {
            report_crash(worker, call);
        }
    }

    /// Readers missed their deadline. A tenant can cause that with each call.
    pub fn readers_stuck(&mut self, times: usize) {
        self.stuck_readers.add(times as u64);
    }

    /// Reports what is due: crashes without a line of their own, and refusals. `all`: at the end of the run, everything.
    pub fn report_due(&mut self, crashes: u64, refusals: &Refusals, quotas: &Quotas, all: bool) {
        let now = Instant::now();
        if let Some(times) = self.crashes.others.take(now, all) {
            let total = crashes;
            warn!(
                event = "worker_crashes",
                times,
                all = total,
                "further workers ended without a line of their own"
            );
        }
        if let Some(times) = self.stuck_readers.take(now, all) {
            warn!(event = "reader_stuck", times, "readers missed their deadline");
        }
        for (quota, times) in self.refusals.take(refusals, now, all) {
            report_refusals(quotas, quota, times);
        }
        if all {
            self.collections.report();
        }
    }

    /// Whether the log wants to know of collections.
    #[must_use]
    pub fn wants_collections(&self) -> bool {
        !self.collections.is_over
    }

    /// A collection ended.
    pub fn collected(&mut self, is_empty: bool) {
        self.collections.add(is_empty);
    }

    /// A handler gives a new reason to let calls go on.
    pub fn reason(handler: &str, reason: &str) {
        let cut = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
        info!(
            event = "continue",
            handler = cut(handler),
            reason = cut(reason),
            "handler lets calls continue"
        );
    }

    /// A handler recorded nothing of a call whose caller collects PCs. Reported once for each handler: the client may
    /// want no coverage of it.
    pub fn silent(&mut self, handler: String) {
        if self.silent.insert(handler.clone()) {
            warn!(
                event = "silent",
                handler,
                "the handler {handler} recorded nothing for a call whose caller collects PCs; if its code has no \
                 coverage points, build it with them (man kcov-handler)"
            );
        }
    }

    /// Two explicit ids of handlers are one point to clients.
    pub fn collision(&mut self, ids: [u64; 2], pc: u64) {
        self.collisions = self.collisions.saturating_add(1);
        if self.collisions > MAX_COLLISIONS {
            return;
        }
        let [one, other] = ids.map(|id| format!("{id:#x}"));
        let pc = format!("{pc:#x}");
        let message = "two explicit ids of handlers have the same PC; ids below 2^";
        warn!(event = "ids_collide", one, other, pc, "{message}{ID_BITS} have a PC each");
    }
}

fn report_refusals(quotas: &Quotas, quota: Quota, times: u64) {
    let Row { name: what, option, key, errno, get, .. } = *quota.row();
    let (bound, errno) = (get(quotas), errno.map(display));
    warn!(event = "quota", what, bound, times, errno, option, key, "over a quota: refused");
}

fn report_crash(worker: &Worker, call: &AllegedCall) {
    let end = worker.end();
    let forbidden = worker.forbidden_call(end);
    let forbidden = forbidden.as_deref();
    let (signal, status) = match end {
        End::Signal(signal) => (Some(signal), None),
        End::Exit(status) => (None, Some(status)),
        End::Hang | End::Unknown => (None, None),
    };
    let in_call = if call.id == 0 { String::new() } else { format!(" in the call {}", call.name) };
    let cause = match (worker.killed(), end) {
        (Some(reason), _) => format!("killed: {reason}"),
        (None, End::Exit(status)) => format!("exited with status {status}"),
        (None, End::Signal(signal)) => signal_cause(signal, forbidden),
        (None, End::Hang | End::Unknown) => "how is unknown".to_owned(),
    };
    warn!(
        event = "worker_crash",
        worker = worker.pid(),
        tid = call.tid,
        call = call.name,
        signal,
        status,
        reason = worker.killed(),
        forbidden,
        "worker ended{in_call}: {cause}",
    );
}

/// The end of a worker by a signal that the broker did not send, in words.
fn signal_cause(signal: i32, forbidden: Option<&str>) -> String {
    let signal = Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |one| one.to_string());
    match forbidden {
        None => format!("killed by {signal}"),
        Some(call) => format!("killed by {signal}: the jail forbids {call}"),
    }
}

#[cfg(test)]
mod tests;
