//! The live view: what brokers show of their tenants while they run, and those who look.
//!
//! | module | side | does |
//! |---|---|---|
//! | [`publisher`] | broker | writes the counters of its tenant into a segment, at each look at the workers |
//! | [`catalogue`] | reader | finds the segments of a machine, copies them, tells live ones from dead ones |
//! | [`tenant`], [`figures`] | reader | a tenant as readers show it |
//! | [`selection`] | reader | which tenants a command is about |
//! | [`status`], [`top`] | reader | `kcov-broker status` and `kcov-broker top` |
//! | [`metrics`], [`exporter`] | reader | `kcov-broker metrics`: text for Prometheus, kept in a file or behind a socket |
//!
//! A segment is a file in `/dev/shm`, `kcov-broker.UID.RUN`, laid out by [`kcov_proto::view`]. The broker makes it
//! before it gives up the right to open files, and its spawner removes the name when the broker is gone, however it
//! went. If both were killed the name stays; whoever looks sees that it is of a dead broker, and the next run of the
//! same user removes it.
//!
//! # Invariants
//! - The broker reads nothing back, and no reader can write: the file belongs to the broker's user and is writable by
//!   that user alone.
//! - Readers copy by `pread(2)`. They map nothing: a file that its owner cuts short would end who has it mapped by a
//!   SIGBUS, and is a short read for who has not.
//! - The broker's part is done at its ticks, never on behalf of a call.

pub mod catalogue;
pub mod exporter;
pub mod figures;
pub mod metrics;
pub mod publisher;
pub mod selection;
pub mod status;
pub mod tenant;
pub mod top;

use crate::sys::segment;
use kcov_proto::view::Name;
use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use std::fs;
use tracing::warn;

/// Where the names of shared memory are (`shm_overview(7)`).
pub const DIRECTORY: &str = "/dev/shm";
/// What the names of segments begin with.
pub const PREFIX: &str = "kcov-broker.";
/// Of so many notifications one is timed, besides the first so many of each worker. Two looks at the clock take 40 ns
/// on most machines, and 470 ns on virtual ones whose time stamp counter is not to be had for free: of 32 notifications
/// of 2.5 us each that is half a percent at worst.
const TIMED: u64 = 32;

/// Who may read a tenant's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Audience {
    /// Every user of this machine, who can count the workers' context switches in /proc anyway
    #[default]
    All,
    /// The user who runs kcov-broker, and root
    Own,
    /// Nobody: no counters are shown, and no notification is timed
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
    /// Of how many notifications one is timed.
    pub timed: u64,
    /// How often the tenant was started anew before.
    pub restarts: u64,
    /// User of its command.
    pub user: u32,
}

impl Publication {
    /// For a tenant of this name whose command runs as who starts it, in a segment of a name that no other run has; `None`
    /// if nobody is to see it.
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
                warn!(%error, "the run is not shown in top and status: /proc/sys/kernel/random/uuid");
                return None;
            }
        };
        let segment = format!("{PREFIX}{}.{}", geteuid(), run.trim_end());
        Some(Publication { segment, name, mode, timed: TIMED, restarts: 0, user: geteuid().as_raw() })
    }

    /// Removes the segment, whose broker is gone.
    pub fn withdraw(&self) {
        // It may never have been made, or have been swept.
        let _ = segment::remove(&self.segment);
    }
}

/// Removes the segments of dead brokers of this user, and as root of `everybody` if wanted. Says how many.
pub fn sweep(everybody: bool) -> usize {
    let Ok(found) = catalogue::scan() else { return 0 };
    let own = geteuid();
    let may = |uid: u32| own.as_raw() == uid || everybody && own.is_root();
    let dead = found.dead.iter().filter(|dead| may(dead.uid));
    dead.filter(|dead| segment::remove(&dead.segment).is_ok()).count()
}
