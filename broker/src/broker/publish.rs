//! What the broker publishes about its tenant in the live view.

use crate::live::publisher::Publisher;
use crate::tenant::Tenant;
use kcov_proto::view::{Counts, MOST_WORKERS, Pids};

/// Publishes the current state of the tenant.
pub(super) fn publish(publisher: &Publisher, tenant: &Tenant) {
    publisher.publish(pids(tenant), counts(tenant), tenant.tally(), tenant.refusals());
}

fn pids(tenant: &Tenant) -> Pids {
    let mut workers: Vec<_> = tenant.workers.iter().map(|(index, worker)| (*index, worker.pid)).collect();
    workers.sort_unstable();
    Pids {
        tender: tenant.tender.pid,
        zygote: tenant.zygote.pid,
        workers: workers.into_iter().map(|(_, pid)| pid).take(MOST_WORKERS).collect(),
        ..Pids::default()
    }
}

fn counts(tenant: &Tenant) -> Counts {
    let (registry, counters, files) = (&tenant.registry, &tenant.counters, tenant.files.as_ref());
    Counts {
        instances: registry.instances() as u64,
        instances_opened: registry.opened(),
        files: files.map_or(0, |files| files.live() as u64),
        files_opened: files.map_or(0, |files| files.opened()),
        handles: registry.handles() as u64,
        tasks: registry.owners() as u64,
        arena_bytes: registry.bytes(),
        assists: counters.assists,
        workers_started: counters.workers_started,
        worker_crashes: counters.worker_crashes,
        retries: counters.retries,
        zygote_restarts: counters.zygote_restarts,
        starts_delayed: counters.starts_delayed,
        quota_refusals: tenant.refusals().sum(),
        artifacts: counters.artifacts,
        ..Counts::default()
    }
}
