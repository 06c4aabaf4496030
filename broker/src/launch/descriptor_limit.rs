//! The limit of descriptors of the broker, and how many instances it permits.

use crate::sys::privilege;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors for each instance: its arena, and the pidfd of the thread that collects into it.
const INSTANCE: u64 = 2;
/// Descriptors for the broker's helpers, and for those that replace them.
const HELPERS: u64 = 400;
/// `CAP_SYS_RESOURCE` (`include/uapi/linux/capability.h`): permits to raise the hard limit.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

/// The highest limit that this process can set for `instances`.
///
/// # Errors
/// Errors of `getrlimit(2)`.
pub fn reachable(instances: usize) -> Result<u64, Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let may_raise = privilege::capabilities().is_ok_and(|held| held.effective & CAP_SYS_RESOURCE != 0);
    let wanted = (instances as u64).saturating_mul(INSTANCE).saturating_add(HELPERS);
    Ok(if may_raise { wanted.min(most()).max(hard) } else { hard })
}

/// The kernel's limit for one process (`fs.nr_open`).
fn most() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// `instances`, or fewer if there are not enough descriptors for them.
///
/// # Errors
/// As [`reachable`].
pub fn affordable(instances: usize) -> Result<usize, Errno> {
    let limit = reachable(instances)?;
    let enough = limit.saturating_sub(HELPERS).max(limit / 2) / INSTANCE;
    Ok(instances.min(usize::try_from(enough).unwrap_or(usize::MAX)))
}

/// Raises the limit of this process as far as possible and as `instances` need.
pub fn raise(instances: usize) {
    // If this fails, INIT_TRACE fails earlier with ENOMEM.
    if let Ok(limit) = reachable(instances) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, limit, limit);
    }
}
