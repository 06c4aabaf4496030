//! The quotas of a tenant, and how an operator says them.
//!
//! Each bounds what a tenant may have and is looked at before anything is allocated ([`Quota`]). What it costs to have
//! workers that crash is bounded by a wait instead, see [`back_off`](crate::tenant::workers::back_off).

use crate::artifact::store::Bounds;
use kcov_proto::quota::Quota;
use std::time::Duration;

/// Bounds on what a tenant may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Bytes of one area.
    pub area: u64,
    /// Bytes of all areas.
    pub total: u64,
    /// Instances that exist at a time.
    pub instances: usize,
    /// Remote handles that are taken at a time.
    pub handles: usize,
    /// Reads and writes of callers' memory for handlers, a second.
    pub assist_rate: u64,
    /// Bytes of those, a second.
    pub assist_bytes: u64,
    /// Crashes of workers a second that cost nothing.
    pub crash_rate: u64,
    /// Longest wait for the next worker after crashes in a row, or too many over time.
    pub restart_delay: Duration,
    /// Artifacts of crashes, those of earlier runs in the same folder among them.
    pub artifacts: Bounds,
}

impl Default for Quotas {
    fn default() -> Self {
        Quotas {
            area: 2 << 30,
            total: 16 << 30,
            instances: 65_536,
            // One for each instance; a call takes 257 at most.
            handles: 65_536,
            // Far beyond what one worker can ask for: 30,000 and 0.2 GiB a second, on a busy machine.
            assist_rate: 1_000_000,
            assist_bytes: 8 << 30,
            // A tenth of a processor, and more than whoever looks for crashes finds for long.
            crash_rate: 32,
            restart_delay: Duration::from_secs(1),
            artifacts: Bounds::default(),
        }
    }
}

impl Quotas {
    /// How much this one allows.
    #[must_use]
    pub fn bound(&self, quota: Quota) -> u64 {
        match quota {
            Quota::Area => self.area,
            Quota::Total => self.total,
            Quota::Instances => self.instances as u64,
            Quota::Handles => self.handles as u64,
            Quota::AssistRate => self.assist_rate,
            Quota::AssistBytes => self.assist_bytes,
            Quota::Artifacts => self.artifacts.count as u64,
            Quota::ArtifactBytes => self.artifacts.bytes,
        }
    }
}

/// Where an operator sets a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The option of `kcov-broker run`.
    pub option: &'static str,
    /// The key of a tenant's `quotas` in the configuration of a service.
    pub key: &'static str,
}

/// Where an operator sets this quota.
#[must_use]
pub fn setting(quota: Quota) -> Setting {
    let (option, key) = match quota {
        Quota::Area => ("--max-area", "area"),
        Quota::Total => ("--max-total", "total"),
        Quota::Instances => ("--max-instances", "instances"),
        Quota::Handles => ("--max-handles", "handles"),
        Quota::AssistRate => ("--max-assist-rate", "assist-rate"),
        Quota::AssistBytes => ("--max-assist-bytes", "assist-bytes"),
        Quota::Artifacts => ("--max-artifacts", "artifacts"),
        Quota::ArtifactBytes => ("--max-artifact-bytes", "artifact-bytes"),
    };
    Setting { option, key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::run::RunArgs;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    fn quotas(words: &[&str]) -> Quotas {
        let words = [&["run", "--artifacts", "/"][..], words, &["true"]].concat();
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args.quotas()
    }

    #[test]
    fn what_the_options_say_by_default_is_the_default() {
        assert_eq!(quotas(&[]), Quotas::default());
    }

    #[test]
    fn each_quota_has_an_option_that_sets_it_alone() {
        for quota in Quota::ALL {
            let set = quotas(&[setting(quota).option, "7"]);
            for other in Quota::ALL {
                let expected = if other == quota { 7 } else { Quotas::default().bound(other) };
                assert_eq!(set.bound(other), expected, "{quota:?}, {other:?}");
            }
        }
    }
}
