//! What is counted of a tenant while it runs.

use kcov_proto::quota::Refusals;
use kcov_proto::sections::Sections;
use kcov_proto::tally::Tally;

/// Counters of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// KCOV instances that exist.
    pub instances: usize,
    /// KCOV instances ever made.
    pub instances_opened: u64,
    /// Open files of handlers' devices that exist.
    pub files: usize,
    /// Open files of handlers' devices ever made.
    pub files_opened: u64,
    /// Remote handles that are taken.
    pub handles: usize,
    /// Threads that own an instance.
    pub owners: usize,
    /// Bytes of all areas.
    pub arena_bytes: u64,
    /// Requests of workers, and calls that readers passed on.
    pub assists: u64,
    /// Workers forked.
    pub workers_started: u64,
    /// Workers that died while they served.
    pub worker_crashes: u64,
    /// Calls that were handled once more after they killed a worker.
    pub retries: u64,
    /// Zygotes that replaced one that died.
    pub zygote_restarts: u64,
    /// Starts of workers that were delayed after crashes.
    pub starts_delayed: u64,
    /// Artifacts written.
    pub artifacts: u64,
    /// Crashes that left no artifact because there was no room.
    pub artifacts_refused: u64,
    /// What was refused over a quota.
    pub refusals: Refusals,
    /// Remote sections.
    pub sections: Sections,
    /// What workers say they did.
    pub tally: Tally,
}
