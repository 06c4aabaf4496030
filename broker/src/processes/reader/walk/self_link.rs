//! The links `self` and `thread-self` of a procfs, with the targets that the caller would read.

use super::Node;
use crate::processes::reader::procfs::{Procfs, STAT_START, read_text, stat_field, status_values};
use crate::processes::reader::task::Task;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Inode number of the root of a procfs (`PROC_ROOT_INO` in `include/linux/proc_ns.h`).
const ROOT_INODE: u64 = 1;

/// The target of the link `name` in `directory`, a directory of a procfs, if it is one of the two.
pub(super) fn target(
    procfs: &Procfs,
    tid: u32,
    directory: &Node,
    name: &[u8],
) -> Result<Option<String>, Errno> {
    let is_thread = name == b"thread-self";
    if directory.facts.id.inode != ROOT_INODE || !is_thread && name != b"self" {
        return Ok(None);
    }
    let (group, thread) = if procfs.is_device(directory.facts.id.device) {
        (Task::open(procfs, tid)?.info(procfs)?.tgid.to_string(), tid.to_string())
    } else {
        numbers_in(directory.file.as_fd(), procfs, tid)?.ok_or(Errno::ENOENT)?
    };
    Ok(Some(if is_thread { format!("{group}/task/{thread}") } else { group }))
}

/// The caller's tgid and tid in the PID namespace of another procfs, whose root is `instance`; `None` if it has none
/// there. The caller's `status` lists its ids from our namespace inward. In the other procfs, `status` of the same task
/// lists the rest of the same line, and `stat` has the same start time.
fn numbers_in(
    instance: BorrowedFd<'_>,
    procfs: &Procfs,
    tid: u32,
) -> Result<Option<(String, String)>, Errno> {
    let (status, stat) = (procfs.read(tid, "status")?, procfs.read(tid, "stat")?);
    let groups = status_values(&status, "NStgid").unwrap_or_default();
    let threads = status_values(&status, "NSpid").unwrap_or_default();
    let level = (0..groups.len().min(threads.len())).rev().find(|&level| {
        let read = |file| read_text(instance, &format!("{}/task/{}/{file}", groups[level], threads[level]));
        let (Ok(their_status), Ok(their_stat)) = (read("status"), read("stat")) else { return false };
        status_values(&their_status, "NStgid").is_some_and(|theirs| theirs == groups[level..])
            && status_values(&their_status, "NSpid").is_some_and(|theirs| theirs == threads[level..])
            && stat_field(&their_stat, STAT_START) == stat_field(&stat, STAT_START)
    });
    Ok(level.map(|level| (groups[level].to_owned(), threads[level].to_owned())))
}
