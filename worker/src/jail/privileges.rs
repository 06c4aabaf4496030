//! Steps that give up privileges of the calling process.

use super::error::{JailError, step};
use kcov_sys::{StepError, privilege};
use nix::errno::Errno;

/// Checks that no memory is writable and executable.
pub(super) fn refuse_writable_code() -> Result<(), JailError> {
    let maps = std::fs::read_to_string("/proc/self/maps");
    let maps = maps.map_err(|_| StepError { step: "read of /proc/self/maps", errno: Errno::last() })?;
    let both = |line: &&str| line.split(' ').nth(1).is_some_and(|rights| rights.contains("wx"));
    match maps.lines().find(both) {
        Some(line) => Err(JailError::WritableCode { mapping: line.to_owned() }),
        None => Ok(()),
    }
}

/// Empties the bounding set and locks the securebits. Without `CAP_SETPCAP` this does nothing: only an exec
/// could restore capabilities then, and the filter forbids exec.
pub(super) fn drop_bounds() -> Result<(), JailError> {
    let held = privilege::capabilities().map_err(step("capget"))?;
    if held.effective & privilege::SETPCAP == 0 {
        return Ok(());
    }
    privilege::limit_bounding_set(0).map_err(step("prctl(PR_CAPBSET_DROP)"))?;
    privilege::clear_ambient_set().map_err(step("prctl(PR_CAP_AMBIENT)"))?;
    privilege::lock_securebits().map_err(step("prctl(PR_SET_SECUREBITS)"))
}

pub(super) fn drop_capabilities() -> Result<(), JailError> {
    privilege::set_capabilities(0).map_err(step("capset"))
}

pub(super) fn forbid_new_privileges() -> Result<(), JailError> {
    nix::sys::prctl::set_no_new_privs().map_err(step("prctl(PR_SET_NO_NEW_PRIVS)"))
}

pub(super) fn hide() -> Result<(), JailError> {
    nix::sys::prctl::set_dumpable(false).map_err(step("prctl(PR_SET_DUMPABLE)"))
}
