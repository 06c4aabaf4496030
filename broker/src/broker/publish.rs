//! What the broker publishes about its tenant in the live view.

use crate::live::publisher::Publisher;
use crate::tenant::Tenant;
use crate::tenant::counters::Counters;
use kcov_proto::view::{Counts, MAX_WORKERS, Pids};

/// Publishes the current state of the tenant.
pub(super) fn publish(publisher: &Publisher, tenant: &Tenant) {
    let counters = tenant.counters();
    let (tender, zygote, mut workers) = tenant.pids();
    workers.truncate(MAX_WORKERS);
    let pids = Pids { tender, zygote, workers, ..Pids::default() };
    publisher.publish(pids, counts(&counters), counters.tally, counters.refusals, counters.sections);
}

fn counts(counters: &Counters) -> Counts {
    Counts {
        instances: counters.instances as u64,
        instances_opened: counters.instances_opened,
        files: counters.files as u64,
        files_opened: counters.files_opened,
        handles: counters.handles as u64,
        tasks: counters.owners as u64,
        arena_bytes: counters.arena_bytes,
        assists: counters.assists,
        workers_started: counters.workers_started,
        worker_crashes: counters.worker_crashes,
        retries: counters.retries,
        zygote_restarts: counters.zygote_restarts,
        starts_delayed: counters.starts_delayed,
        quota_refusals: counters.refusals.sum(),
        artifacts: counters.artifacts,
        ..Counts::default()
    }
}
