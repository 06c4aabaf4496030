//! The broker's side: its counters, written into its segment.

use crate::launch::publication::Publication;
use crate::sys::procfs;
use crate::sys::segment::Segment;
use crate::tenant::Tenant;
use kcov_proto::quota::Refusals;
use kcov_proto::tally::Tally;
use kcov_proto::view::{Counts, Identity, MOST_WORKERS, Name, Pids, View, WORDS, Writer};
use nix::sys::stat::stat;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::getppid;
use std::fs;
use tracing::warn;

/// Writes into the segment of a tenant.
#[derive(Debug)]
pub struct Publisher {
    writer: Writer<Segment>,
    identity: Identity,
    name: Name,
    front: u32,
    started: u64,
    restarts: u64,
    user: u32,
}

impl Publisher {
    /// Makes the segment. A tenant that cannot be shown runs all the same; the log says why.
    #[must_use]
    pub fn open(publication: &Publication) -> Option<Self> {
        let made = Segment::create(&publication.segment, WORDS, publication.mode);
        let made = made.inspect_err(|error| warn!(%error, "the tenant is not shown in top and status"));
        let publisher = Publisher {
            writer: Writer::new(made.ok()?)?,
            identity: identity(),
            name: publication.name.clone(),
            front: getppid().as_raw().cast_unsigned(),
            started: now(),
            restarts: publication.restarts,
            user: publication.user,
        };
        publisher.show(Pids::default(), Counts::default(), Default::default(), Default::default());
        Some(publisher)
    }

    /// Shows how things stand with `tenant`.
    pub fn publish(&self, tenant: &Tenant) {
        let mut workers: Vec<_> = tenant.workers.iter().map(|(index, worker)| (*index, worker.pid)).collect();
        workers.sort_unstable();
        let pids = Pids {
            front: self.front,
            tender: tenant.tender.pid,
            zygote: tenant.zygote.pid,
            workers: workers.into_iter().map(|(_, pid)| pid).take(MOST_WORKERS).collect(),
        };
        self.show(pids, self.counts(tenant), tenant.tally(), tenant.refusals());
    }

    fn counts(&self, tenant: &Tenant) -> Counts {
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
            restarts: self.restarts,
        }
    }

    fn show(&self, pids: Pids, counts: Counts, tally: Tally, refusals: Refusals) {
        let Publisher { writer, identity, name, started, .. } = self;
        let (identity, name, started, user) = (*identity, name.clone(), *started, Some(self.user));
        writer.publish(&View { identity, name, started, beat: now(), pids, counts, tally, refusals, user });
    }
}

/// Which process this is.
#[must_use]
pub fn identity() -> Identity {
    let pid = std::process::id();
    Identity {
        boot: boot(),
        pid_namespace: pid_namespace(),
        pid,
        start: procfs::stat(pid).map_or(0, |stat| stat.started),
    }
}

/// Of which start of the machine this is; 0 if that cannot be told.
#[must_use]
pub fn boot() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim_end().replace('-', ""), 16).unwrap_or_default()
}

/// In which PID namespace this process sees others; 0 if that cannot be told.
#[must_use]
pub fn pid_namespace() -> u64 {
    stat("/proc/self/ns/pid").map_or(0, |facts| facts.st_ino)
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[must_use]
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
