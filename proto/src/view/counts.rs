//! What a broker counts of its tenant.

/// Words of encoded counts.
pub(super) const WORDS: usize = 16;

/// What the broker itself counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Instances that exist.
    pub instances: u64,
    /// Instances ever opened.
    pub instances_opened: u64,
    /// Files of handlers' devices that exist.
    pub files: u64,
    /// Files of handlers' devices ever opened.
    pub files_opened: u64,
    /// Remote handles that are taken.
    pub handles: u64,
    /// Threads that own an instance.
    pub tasks: u64,
    /// Bytes of all areas.
    pub arena_bytes: u64,
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
    /// Workers whose start was held up, as others before them had died.
    pub starts_delayed: u64,
    /// What was refused, as it was over a quota.
    pub quota_refusals: u64,
    /// Artifacts of crashes that were written.
    pub artifacts: u64,
    /// How often the tenant was started anew before this time.
    pub restarts: u64,
}

impl Counts {
    pub(super) fn words(&self) -> [u64; WORDS] {
        let Counts {
            instances,
            instances_opened,
            files,
            files_opened,
            handles,
            tasks,
            arena_bytes,
            assists,
            workers_started,
            worker_crashes,
            retries,
            zygote_restarts,
            starts_delayed,
            quota_refusals,
            artifacts,
            restarts,
        } = *self;
        [
            instances,
            instances_opened,
            files,
            files_opened,
            handles,
            tasks,
            arena_bytes,
            assists,
            workers_started,
            worker_crashes,
            retries,
            zygote_restarts,
            starts_delayed,
            quota_refusals,
            artifacts,
            restarts,
        ]
    }

    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let [
            instances,
            instances_opened,
            files,
            files_opened,
            handles,
            tasks,
            arena_bytes,
            assists,
            workers_started,
            worker_crashes,
            retries,
            zygote_restarts,
            starts_delayed,
            quota_refusals,
            artifacts,
            restarts,
        ] = words;
        Counts {
            instances,
            instances_opened,
            files,
            files_opened,
            handles,
            tasks,
            arena_bytes,
            assists,
            workers_started,
            worker_crashes,
            retries,
            zygote_restarts,
            starts_delayed,
            quota_refusals,
            artifacts,
            restarts,
        }
    }
}
