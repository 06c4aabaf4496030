//! The report that `kcov-broker run --report FILE` leaves at its end.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Counters of one run, of the broker's own process where not said otherwise.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Registry entries at the end.
    pub instances_live: u64,
    /// Opens of the device.
    pub instances_opened: u64,
    /// Files of handlers' devices that exist still.
    pub files_live: u64,
    /// Files of handlers' devices ever opened.
    pub files_opened: u64,
    /// Bytes of arenas at the end.
    pub arena_bytes: u64,
    /// Notifications served.
    pub notifications: u64,
    /// Requests of workers to the broker.
    pub assists: u64,
    /// The same by kind.
    pub notifications_by_kind: BTreeMap<String, u64>,
    /// How long they took.
    pub latency: Vec<Bucket>,
    /// Records written to areas.
    pub records: u64,
    /// Records dropped because an area was full.
    pub records_lost: u64,
    /// Workers that ended without being told to.
    pub worker_crashes: u64,
    /// Workers started, replacements among them.
    pub workers_started: u64,
    /// Calls that were handled once more.
    pub retries: u64,
    /// Zygotes that followed one that died.
    pub zygote_restarts: u64,
    /// What was refused over a quota.
    pub quota_refusals: u64,
    /// The same by quota.
    pub quota_refusals_by_quota: BTreeMap<String, u64>,
    /// Workers that had to wait for their start.
    pub starts_delayed: u64,
    /// Artifacts that were written.
    pub artifacts: u64,
    /// Crashes that left none, as there was no room.
    pub artifacts_refused: u64,
    /// Remote handles registered at the end.
    pub handles_live: u64,
    /// Threads known to the registry at the end.
    pub tasks_live: u64,
    /// Descriptors open when the broker had started.
    pub open_fds_start: u64,
    /// Descriptors open at the end.
    pub open_fds_end: u64,
    /// Resident set when the broker had started, KiB.
    pub rss_start_kib: u64,
    /// Resident set at the end, KiB.
    pub rss_end_kib: u64,
}

/// A bucket of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Bucket {
    /// Nanoseconds that its times are below; none for the last.
    pub below_ns: Option<u64>,
    /// How many they are.
    pub count: u64,
}

impl Report {
    /// Asserts that nothing of the tenant is left in the broker.
    ///
    /// # Panics
    /// When something is.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert_eq!(self.instances_live, 0, "registry entries left: {self:?}");
        assert_eq!(self.files_live, 0, "files of handlers' devices left: {self:?}");
        assert_eq!(self.arena_bytes, 0, "arenas left: {self:?}");
        assert_eq!(self.handles_live, 0, "remote handles left: {self:?}");
        assert_eq!(self.tasks_live, 0, "tasks left: {self:?}");
    }
}
