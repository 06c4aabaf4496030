//! How a tenant is shown to operators while it runs: the segment of shared memory that its broker writes
//! counters to.

use crate::sys::segment;
use kcov_proto::view::Name;
use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use std::fs;
use tracing::warn;

/// How the names of segments begin: `kcov-broker.UID.RUN`.
pub const PREFIX: &str = "kcov-broker.";
/// A worker measures one of this many notifications, besides the first ones of its life. Two clock readings
/// take 40 ns on most machines, and 470 ns on virtual ones without a usable time stamp counter. Spread over
/// 32 notifications of 2.5 us each, that is at most half a percent.
const TIMED: u64 = 32;

/// Who may read a tenant's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Audience {
    /// Every user of this machine. They can count context switches of the workers in /proc anyway
    #[default]
    All,
    /// The user who runs kcov-broker, and root
    Own,
    /// Nobody: no counters are published and no notification is timed
    None,
}

/// How a tenant is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Name of the segment.
    pub segment: String,
    /// Name of the tenant.
    pub name: Name,
    /// Permissions of the segment.
    pub mode: Mode,
    /// A worker measures one of this many notifications.
    pub timed: u64,
    /// How often the tenant was restarted.
    pub restarts: u64,
    /// User of its command.
    pub user: u32,
}

impl Publication {
    /// A publication with a new segment name, for a tenant whose command runs as the calling user. `None` if
    /// `audience` is nobody.
    #[must_use]
    pub fn new(name: Name, audience: Audience) -> Option<Self> {
        let mode = match audience {
            Audience::All => Mode::from_bits_truncate(0o644),
            Audience::Own => Mode::from_bits_truncate(0o600),
            Audience::None => return None,
        };
        let run = match fs::read_to_string("/proc/sys/kernel/random/uuid") {
            Ok(run) => run,
            Err(error) => {
                warn!(%error, "cannot read /proc/sys/kernel/random/uuid: top and status will not show this run");
                return None;
            }
        };
        let segment = format!("{PREFIX}{}.{}", geteuid(), run.trim_end());
        Some(Publication { segment, name, mode, timed: TIMED, restarts: 0, user: geteuid().as_raw() })
    }

    /// Removes the segment of a broker that is gone.
    pub fn withdraw(&self) {
        // It may not exist: it was never made, or somebody swept it.
        let _ = segment::remove(&self.segment);
    }
}
