//! Counters of a broker.

/// Size of encoded counters in words.
pub(super) const WORDS: usize = 16;

/// Defines the counters, and their encoding in the same order.
macro_rules! counts {
    ($(#[$doc:meta] $name:ident,)*) => {
        /// What the broker itself counts for its tenant.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct Counts {
            $(#[$doc] pub $name: u64,)*
        }

        impl Counts {
            pub(super) fn words(&self) -> [u64; WORDS] {
                let Counts { $($name),* } = *self;
                [$($name),*]
            }

            pub(super) fn from_words([$($name),*]: [u64; WORDS]) -> Self {
                Counts { $($name),* }
            }
        }
    };
}

counts! {
    /// KCOV instances that exist.
    instances,
    /// KCOV instances opened since the start.
    instances_opened,
    /// Files of handlers' devices that exist.
    files,
    /// Files of handlers' devices opened since the start.
    files_opened,
    /// Remote handles in use.
    handles,
    /// Threads that own an instance.
    tasks,
    /// Size of all areas in bytes.
    arena_bytes,
    /// Requests that workers sent to the broker.
    assists,
    /// Workers forked since the start.
    workers_started,
    /// Workers that died while they served.
    worker_crashes,
    /// Calls that were handled a second time because their first worker died.
    retries,
    /// Zygotes started to replace one that died.
    zygote_restarts,
    /// Worker starts that were delayed because earlier workers had crashed.
    starts_delayed,
    /// Requests refused because of a quota.
    quota_refusals,
    /// Crash artifacts written.
    artifacts,
    /// Earlier restarts of the tenant.
    restarts,
}
