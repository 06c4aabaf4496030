//! How many descriptors the broker may have, and how many instances that is enough for.

use crate::sys::privilege;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors of an instance: its arena, and the thread that collects into it.
const INSTANCE: u64 = 2;
/// What is left for the broker's helpers, and for those that follow them.
const HELPERS: u64 = 400;
/// `CAP_SYS_RESOURCE` (`include/uapi/linux/capability.h`): may raise its own hard limit.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// The limit that this process can have, if it wants `instances`.
///
/// # Errors
/// As `getrlimit(2)`.
pub fn reachable(instances: usize) -> Result<u64, Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let may_raise = privilege::capabilities().is_ok_and(|held| held.effective & CAP_SYS_RESOURCE != 0);
    let wanted = (instances as u64).saturating_mul(INSTANCE).saturating_add(HELPERS);
    Ok(if may_raise { wanted.min(most()).max(hard) } else { hard })
}

/// What the kernel gives one process at most (`fs.nr_open`).
fn most() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Those of `instances` that there are descriptors for.
///
/// # Errors
/// As [`reachable`].
pub fn affordable(instances: usize) -> Result<usize, Errno> {
    let limit = reachable(instances)?;
    let enough = limit.saturating_sub(HELPERS).max(limit / 2) / INSTANCE;
    Ok(instances.min(usize::try_from(enough).unwrap_or(usize::MAX)))
}

/// Raises the limit of this process as far as it can and `instances` need.
pub fn raise(instances: usize) {
    // If not even that is granted, opens of the device fail cleanly earlier.
    if let Ok(limit) = reachable(instances) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, limit, limit);
    }
}
