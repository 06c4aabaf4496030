//! A thread that is known for certain: its number and a descriptor that pins what the number meant.

use super::procfs::{Procfs, STAT_START, stat_field, status_values};
use crate::sys::process::{self, TaskInfo};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// One task. Until it is reaped, its number names no other; [`Task::holds_number`] tells.
pub(super) struct Task {
    tid: u32,
    pidfd: OwnedFd,
    /// Set where the kernel pins processes only (before Linux 6.9): the thread's own start time.
    start: Option<u64>,
}

impl Task {
    /// The task that has the number `tid` now.
    pub(super) fn open(procfs: &Procfs, tid: u32) -> Result<Self, Errno> {
        match process::pidfd_open(tid, true) {
            Ok(pidfd) => Ok(Task { tid, pidfd, start: None }),
            Err(Errno::EINVAL) => Self::open_by_group(procfs, tid),
            Err(errno) => Err(errno),
        }
    }

    /// As [`open`](Self::open), without pidfds of threads.
    pub(super) fn open_by_group(procfs: &Procfs, tid: u32) -> Result<Self, Errno> {
        let pidfd = process::pidfd_open(status(procfs, tid)?.tgid, false)?;
        let start = Some(start(procfs, tid)?);
        Ok(Task { tid, pidfd, start })
    }

    /// Its number.
    pub(super) fn tid(&self) -> u32 {
        self.tid
    }

    /// Whether its number still names it, hence did whenever it was used since [`Task::open`].
    pub(super) fn holds_number(&self, procfs: &Procfs) -> bool {
        process::holds_number(self.pidfd.as_fd())
            && self.start.is_none_or(|known| start(procfs, self.tid) == Ok(known))
    }

    /// Thread group and parent of this very task. `ESRCH` if it is gone.
    pub(super) fn info(&self, procfs: &Procfs) -> Result<TaskInfo, Errno> {
        match process::task_info(self.pidfd.as_fd()) {
            // A pidfd of the group answers for its leader: the group and the parent are the thread's own.
            Ok(info) if self.start.is_none() => Ok(info),
            Err(Errno::ESRCH) => Err(Errno::ESRCH),
            _ => {
                let info = status(procfs, self.tid)?;
                if self.holds_number(procfs) { Ok(info) } else { Err(Errno::ESRCH) }
            }
        }
    }
}

/// What `status` says of the task numbered `tid` at this moment.
fn status(procfs: &Procfs, tid: u32) -> Result<TaskInfo, Errno> {
    let text = procfs.read(tid, "status").map_err(gone)?;
    let value = |key| status_values(&text, key)?.first()?.parse().ok();
    let all = || Some(TaskInfo { tgid: value("Tgid")?, ppid: value("PPid")? });
    all().ok_or(Errno::ESRCH)
}

fn start(procfs: &Procfs, tid: u32) -> Result<u64, Errno> {
    let text = procfs.read(tid, "stat").map_err(gone)?;
    stat_field(&text, STAT_START).ok_or(Errno::ESRCH)
}

/// procfs says ENOENT of a number that nobody has.
fn gone(errno: Errno) -> Errno {
    if errno == Errno::ENOENT { Errno::ESRCH } else { errno }
}
