//! Permission to open a placeholder: the kernel's rule for a file of mode 0600.

use super::procfs::{Procfs, status_values};
use nix::errno::Errno;

/// `CAP_DAC_OVERRIDE` in `CapEff` (`include/uapi/linux/capability.h`).
const CAP_DAC_OVERRIDE: u64 = 1 << 1;

/// Returns whether the thread may open a file of mode 0600 that belongs to `owner`
/// (`generic_permission` and `capable_wrt_inode_uidgid`, Linux 6.12).
pub(super) fn may_open(procfs: &Procfs, tid: u32, owner: u32) -> Result<bool, Errno> {
    let status = match procfs.effective_uid(tid) {
        // A thread may set its file uid to its effective uid, so that is sufficient.
        Ok(uid) if uid == owner => return Ok(true),
        _ => procfs.read(tid, "status")?,
    };
    if file_uid(&status) == Some(owner) {
        return Ok(true);
    }
    Ok(overrides(&status) && maps(&procfs.read(tid, "uid_map")?, owner))
}

/// The file system uid: the last of the four values (real, effective, saved, fs).
fn file_uid(status: &str) -> Option<u32> {
    status_values(status, "Uid")?.get(3)?.parse().ok()
}

fn overrides(status: &str) -> bool {
    let effective =
        status_values(status, "CapEff").and_then(|values| u64::from_str_radix(values.first()?, 16).ok());
    effective.is_some_and(|bits| bits & CAP_DAC_OVERRIDE != 0)
}

/// Returns whether `uid` is mapped in a user namespace with this `uid_map`: capabilities in the namespace only apply to
/// files of mapped users.
fn maps(uid_map: &str, uid: u32) -> bool {
    uid_map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [_, first, count] if (first..first.saturating_add(count)).contains(&u64::from(uid)))
    })
}
