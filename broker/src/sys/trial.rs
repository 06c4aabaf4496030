//! Kernel features that only a filter which is installed can show.

use super::filter;
use crate::sandbox::filter::Bpf;
use nix::errno::Errno;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

/// Installs `program`, which asks nobody, with a listener in the calling process, for good. Says whether the listener
/// knows `SYNC_WAKE_UP`.
///
/// # Errors
/// As [`filter::install`]: `EBUSY` if the process is supervised already.
pub fn listener_wakes_in_step(program: &Bpf) -> Result<bool, Errno> {
    let listener = filter::install(program)?;
    // SAFETY: the kernel has just made this descriptor for this process; nobody else knows its number. Closing it is
    // no call that waits: the program asks nobody.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    Ok(filter::set_sync_wake_up(listener.as_fd()).is_ok())
}
