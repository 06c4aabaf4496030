//! Namespaces of a zygote's own. Not among them: PID, as a reader of notifications in a PID namespace below the
//! tenant's sees no process ids; time, which hides nothing.

use super::JailError;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Leaves the namespace of one kind for a fresh one.
///
/// # Errors
/// [`JailError::Namespace`]: `ENOSPC` where there are too many, `EPERM` where a security module forbids it.
pub fn leave(kind: CloneFlags) -> Result<(), JailError> {
    unshare(kind).map_err(denied(name(kind)))
}

/// An error of a step that machines forbid.
pub(super) fn denied(step: &'static str) -> impl FnOnce(Errno) -> JailError {
    move |errno| JailError::Namespace { step, errno }
}

/// The way out, by what `errno` mostly means (`namespaces(7)`).
pub(super) fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC | Errno::EUSERS => {
            "there are too many, raise user.max_net_namespaces and its like (sysctl user)"
        }
        Errno::EINVAL | Errno::ENOSYS => "this kernel, or a chroot, does not have it",
        _ => "a container or a security module forbids it, allow namespaces and mounts to kcov-broker",
    }
}

/// Leaves the mount namespace, and keeps from the old one what happens in the new one.
///
/// # Errors
/// As [`leave`].
pub fn leave_mounts() -> Result<(), JailError> {
    const NONE: Option<&str> = None;
    leave(CloneFlags::CLONE_NEWNS)?;
    // Else the end of the old root would spread to those who share its mounts (mount_namespaces(7)).
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
