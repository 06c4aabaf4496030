//! The namespaces of a zygote. Not among them: PID, as a receiver of notifications in a PID namespace below
//! the tenant's sees no process ids; time, which hides nothing.

use super::error::JailError;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Moves this process to a new namespace of one kind.
///
/// # Errors
/// [`JailError::Namespace`]: `ENOSPC` if there are too many, `EPERM` if a security module forbids it.
pub fn leave(kind: CloneFlags) -> Result<(), JailError> {
    unshare(kind).map_err(denied(name(kind)))
}

/// Makes the error of a step that some machines forbid.
pub(super) fn denied(step: &'static str) -> impl FnOnce(Errno) -> JailError {
    move |errno| JailError::Namespace { step, errno }
}

/// Moves this process to a new mount namespace whose mounts do not propagate to the old one.
///
/// # Errors
/// As [`leave`].
pub fn leave_mounts() -> Result<(), JailError> {
    const NONE: Option<&str> = None;
    leave(CloneFlags::CLONE_NEWNS)?;
    // Otherwise the unmount of the old root would propagate to its peers (mount_namespaces(7)).
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).map_err(denied("mount(MS_PRIVATE)"))
}

fn name(kind: CloneFlags) -> &'static str {
    match kind {
        CloneFlags::CLONE_NEWUSER => "unshare(CLONE_NEWUSER)",
        CloneFlags::CLONE_NEWNS => "unshare(CLONE_NEWNS)",
        CloneFlags::CLONE_NEWNET => "unshare(CLONE_NEWNET)",
        CloneFlags::CLONE_NEWIPC => "unshare(CLONE_NEWIPC)",
        CloneFlags::CLONE_NEWUTS => "unshare(CLONE_NEWUTS)",
        CloneFlags::CLONE_NEWCGROUP => "unshare(CLONE_NEWCGROUP)",
        _ => "unshare",
    }
}
