//! Counters of a broker.

/// Size of encoded counters in words.
pub(super) const WORDS: usize = 16;

/// What the broker itself counts for its tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// KCOV instances that exist.
    pub instances: u64,
    /// KCOV instances opened since the start.
    pub instances_opened: u64,
    /// Files of handlers' devices that exist.
    pub files: u64,
    /// Files of handlers' devices opened since the start.
    pub files_opened: u64,
    /// Remote handles in use.
    pub handles: u64,
    /// Threads that own an instance.
    pub tasks: u64,
    /// Size of all areas in bytes.
    pub arena_bytes: u64,
    /// Requests that workers sent to the broker.
    pub assists: u64,
    /// Workers forked since the start.
    pub workers_started: u64,
    /// Workers that died while they served.
    pub worker_crashes: u64,
    /// Calls that were handled a second time because their first worker died.
    pub retries: u64,
    /// Zygotes started to replace one that died.
    pub zygote_restarts: u64,
    /// Worker starts that were delayed because earlier workers had crashed.
    pub starts_delayed: u64,
    /// Requests refused because of a quota.
    pub quota_refusals: u64,
    /// Crash artifacts written.
    pub artifacts: u64,
    /// Earlier restarts of the tenant.
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
