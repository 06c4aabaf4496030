//! The report that `kcov-broker run --report FILE` writes at its end.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Counters of remote sections.
#[derive(Clone, Debug, Deserialize)]
pub struct Sections {
    /// Sections started with a handle in use.
    pub started: u64,
    /// Records appended.
    pub records: u64,
    /// Records for which an area had no room.
    pub lost: u64,
    /// Dropped sections by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// Counters of one run, those of processes for the broker's own process.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Registry entries at the end.
    pub instances_live: u64,
    /// Opens of the device.
    pub instances_opened: u64,
    /// Open files of handlers' devices at the end.
    pub files_live: u64,
    /// Opens of handlers' devices.
    pub files_opened: u64,
    /// Bytes of arenas at the end.
    pub arena_bytes: u64,
    /// Notifications served.
    pub notifications: u64,
    /// Requests of workers to the broker.
    pub assists: u64,
    /// Notifications by kind.
    pub notifications_by_kind: BTreeMap<String, u64>,
    /// Histogram of the time that notifications took.
    pub latency: Vec<Bucket>,
    /// Records written to areas.
    pub records: u64,
    /// Records dropped because an area was full.
    pub records_lost: u64,
    /// Points not recorded because a bitmap had them already.
    pub records_suppressed: u64,
    /// Workers that ended unexpectedly.
    pub worker_crashes: u64,
    /// Workers started, including replacements.
    pub workers_started: u64,
    /// Calls that were retried.
    pub retries: u64,
    /// Zygotes started in place of one that died.
    pub zygote_restarts: u64,
    /// Requests refused over a quota.
    pub quota_refusals: u64,
    /// Refused requests by quota.
    pub quota_refusals_by_quota: BTreeMap<String, u64>,
    /// Workers whose start was delayed.
    pub starts_delayed: u64,
    /// Artifacts written.
    pub artifacts: u64,
    /// Crashes without an artifact because there was no room.
    pub artifacts_refused: u64,
    /// Remote sections.
    pub sections: Sections,
    /// Remote handles registered at the end.
    pub handles_live: u64,
    /// Threads known to the registry at the end.
    pub tasks_live: u64,
    /// Open descriptors after the start.
    pub open_fds_start: u64,
    /// Open descriptors at the end.
    pub open_fds_end: u64,
    /// Resident set after the start, KiB.
    pub rss_start_kib: u64,
    /// Resident set at the end, KiB.
    pub rss_end_kib: u64,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Bucket {
    /// Upper bound in nanoseconds, exclusive; none for the last bucket.
    pub below_ns: Option<u64>,
    /// Number of times in the bucket.
    pub count: u64,
}

impl Report {
    /// Asserts that nothing of the tenant is left in the broker.
    ///
    /// # Panics
    /// When something is left.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.instances_live, 0, "registry entries left: {self:?}");
        assert_eq!(self.files_live, 0, "files of handlers' devices left: {self:?}");
        assert_eq!(self.arena_bytes, 0, "arenas left: {self:?}");
        assert_eq!(self.handles_live, 0, "remote handles left: {self:?}");
        assert_eq!(self.tasks_live, 0, "tasks left: {self:?}");
    }
}
