//! Counts of a run, for `--report` and for tests.

use crate::sys::procfs;
use kcov_proto::quota::Refusals;
use kcov_proto::tally::Tally;
use serde::Serialize;

/// What is counted while a tenant runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests of workers.
    pub assists: u64,
    /// Workers forked.
    pub workers_started: u64,
    /// Workers that died while they served.
    pub worker_crashes: u64,
    /// Calls that were handled once more, as a worker had died of them.
    pub retries: u64,
    /// Zygotes that followed one that died.
    pub zygote_restarts: u64,
    /// What was refused over a quota, without that of the registry and of readers.
    pub refusals: Refusals,
    /// Workers that had to wait for their start, as others had crashed in a row.
    pub starts_delayed: u64,
    /// Artifacts that were written.
    pub artifacts: u64,
    /// Crashes and hangs that left none, as there was no room for more.
    pub artifacts_refused: u64,
    /// What workers say that ended.
    pub tally: Tally,
}

/// Descriptors and memory of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Open descriptors.
    pub fds: usize,
    /// Resident memory, KiB.
    pub rss_kib: u64,
}

impl Usage {
    /// As of now.
    #[must_use]
    pub fn now() -> Self {
        Usage { fds: procfs::open_descriptors(), rss_kib: procfs::resident_kib() }
    }
}

/// The end of a run, as `--report` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Instances that exist still: 0 unless something leaked.
    pub instances_live: usize,
    /// Instances ever opened.
    pub instances_opened: u64,
    /// Files of handlers' devices that exist still: 0 unless something leaked.
    pub files_live: usize,
    /// Files of handlers' devices ever opened.
    pub files_opened: u64,
    /// Remote handles taken still.
    pub handles_live: usize,
    /// Threads that own an instance still.
    pub tasks_live: usize,
    /// Bytes of all areas.
    pub arena_bytes: u64,
    /// As [`Counters`].
    pub assists: u64,
    /// As [`Counters`].
    pub worker_crashes: u64,
    /// As [`Counters`].
    pub workers_started: u64,
    /// As [`Counters`].
    pub retries: u64,
    /// As [`Counters`].
    pub zygote_restarts: u64,
    /// What was refused, as it was over a quota.
    pub quota_refusals: u64,
    /// The same by quota.
    pub quota_refusals_by_quota: Refusals,
    /// As [`Counters`].
    pub starts_delayed: u64,
    /// As [`Counters`].
    pub artifacts: u64,
    /// As [`Counters`].
    pub artifacts_refused: u64,
    /// What workers say they did: the fields stand beside the others.
    #[serde(flatten)]
    pub tally: Tally,
    /// Descriptors of the broker when the tenant started.
    pub open_fds_start: usize,
    /// Descriptors of the broker at the end.
    pub open_fds_end: usize,
    /// Resident memory of the broker when the tenant started, KiB.
    pub rss_start_kib: u64,
    /// Resident memory of the broker at the end, KiB.
    pub rss_end_kib: u64,
}
