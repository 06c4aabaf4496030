//! The broker's side: its counters, written into its segment.

use super::Publication;
use crate::sys::procfs;
use crate::sys::segment::Segment;
use kcov_proto::quota::Refusals;
use kcov_proto::tally::Tally;
use kcov_proto::view::{Counts, Identity, MAX_WORKERS, Name, Pids, View, ViewWriter, WORDS};
use nix::sys::stat::stat;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::getppid;
use std::fs;
use tracing::warn;

/// Writes into the segment of a tenant.
#[derive(Debug)]
pub struct Publisher {
    writer: ViewWriter<Segment>,
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
            writer: ViewWriter::new(made.ok()?)?,
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

    /// Shows process ids and counters. The front's id and the count of restarts are filled in here.
    pub fn publish(&self, pids: Pids, counts: Counts, tally: Tally, refusals: Refusals) {
        let mut pids = Pids { front: self.front, ..pids };
        pids.workers.truncate(MAX_WORKERS);
        self.show(pids, Counts { restarts: self.restarts, ..counts }, tally, refusals);
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
