//! The report of a run, as `--report` writes it.

use crate::sys::procfs;
use crate::tenant::counters::Counters;
use kcov_proto::quota::Refusals;
use kcov_proto::sections::Sections;
use kcov_proto::tally::Tally;
use serde::Serialize;

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
    /// Remote sections.
    pub sections: Sections,
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

impl Report {
    /// The report of a run with these counters.
    #[must_use]
    pub fn new(counters: &Counters, start: Usage, end: Usage) -> Self {
        let Counters {
            instances,
            instances_opened,
            files,
            files_opened,
            handles,
            owners,
            arena_bytes,
            assists,
            workers_started,
            worker_crashes,
            retries,
            zygote_restarts,
            starts_delayed,
            artifacts,
            artifacts_refused,
            refusals,
            sections,
            tally,
        } = *counters;
        Report {
            instances_live: instances,
            instances_opened,
            files_live: files,
            files_opened,
            handles_live: handles,
            tasks_live: owners,
            arena_bytes,
            assists,
            worker_crashes,
            workers_started,
            retries,
            zygote_restarts,
            quota_refusals: refusals.sum(),
            quota_refusals_by_quota: refusals,
            starts_delayed,
            artifacts,
            artifacts_refused,
            sections,
            tally,
            open_fds_start: start.fds,
            open_fds_end: end.fds,
            rss_start_kib: start.rss_kib,
            rss_end_kib: end.rss_kib,
        }
    }
}
