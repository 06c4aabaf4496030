//! What the log says of a tenant: each kind of message is bounded, and what has no line of its own is counted.
//!
//! A tenant or a worker can cause any of these messages as often as it likes. So the first ones have a line each, and the
//! others a line together now and then: a handler that crashes over every call costs its own time, and not the operator's
//! disk.

use super::workers::process::{AllegedCall, Worker};
use kcov_proto::quota::{Quota, Quotas, Refusals, Row};
use kcov_proto::site::ID_BITS;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tracing::field::display;
use tracing::{info, warn};

/// Crashes that each have a line, if there were none for a while.
const BURST: u32 = 256;
/// Beyond those, a crash has a line of its own once in this time.
const INTERVAL: Duration = Duration::from_secs(1);
/// Least time between two lines that sum up.
const PAUSE: Duration = Duration::from_secs(10);
/// Colliding ids that are logged. An honest worker reports 16.
const MAX_COLLISIONS: u32 = 256;
/// Characters of a text from a worker.
const MAX_TEXT: usize = 1024;

/// Events that are summed up in a line now and then.
#[derive(Clone, Copy, Debug, Default)]
struct Repeats {
    unreported: u64,
    /// When the next line may come; `None` for at once.
    next: Option<Instant>,
}

impl Repeats {
    /// Counts events.
    fn add(&mut self, times: u64) {
        self.unreported += times;
    }

    /// Counts an event that has no line of its own. A line that sums up follows after the pause.
    fn add_later(&mut self, now: Instant) {
        if self.unreported == 0 {
            self.next = Some(now + PAUSE);
        }
        self.add(1);
    }

    /// The events that are to be reported now: none within the pause, unless `all`.
    fn take(&mut self, now: Instant, all: bool) -> Option<u64> {
        let is_due = all || self.next.is_none_or(|next| next <= now);
        if self.unreported == 0 || !is_due {
            return None;
        }
        self.next = Some(now + PAUSE);
        Some(std::mem::take(&mut self.unreported))
    }
}

/// The crashes of workers: as many one by one as a fuzzer has when all is well, and a line for the others together.
#[derive(Clone, Copy, Debug, Default)]
struct Crashes {
    /// When the next [`BURST`] may have a line each.
    rested: Option<Instant>,
    others: Repeats,
}

impl Crashes {
    /// Counts a crash. Returns whether it has a line of its own.
    fn add(&mut self, now: Instant) -> bool {
        let rested = self.rested.map_or(now, |rested| rested.max(now)) + INTERVAL;
        let has_line = rested.saturating_duration_since(now) <= INTERVAL * BURST;
        match has_line {
            true => self.rested = Some(rested),
            false => self.others.add_later(now),
        }
        has_line
    }
}

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
    crashes: Crashes,
    refusals: RefusalLines,
    /// Handlers that were reported as recording nothing.
    silent: BTreeSet<String>,
    collections: Collections,
    collisions: u32,
}

impl TenantLog {
    /// A worker ended while it was not to. `call`: what its slot shows.
    pub fn crash(&mut self, worker: &Worker, call: &AllegedCall, now: Instant) {
        if self.crashes.add(now) {
            report_crash(worker, call);
        }
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
    let signal = worker.end_signal();
    let forbidden = worker.forbidden_call(signal);
    let forbidden = forbidden.as_deref();
    let status = (signal == 0).then(|| worker.end_status());
    let in_call = if call.id == 0 { String::new() } else { format!(" in the call {}", call.name) };
    let cause = match (worker.killed(), status) {
        (Some(reason), _) => format!("killed: {reason}"),
        (None, Some(status)) => format!("exited with status {status}"),
        (None, None) => signal_cause(signal, forbidden),
    };
    warn!(
        event = "worker_crash",
        worker = worker.pid(),
        tid = call.tid,
        call = call.name,
        signal = (signal != 0).then_some(signal),
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
