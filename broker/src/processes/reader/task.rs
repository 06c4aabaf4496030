//! Identifies a thread reliably: by its tid and by a pidfd that detects reuse of the tid.

use super::procfs::{Procfs, STAT_START, stat_field, status_values};
use crate::sys::process::{self, TaskInfo};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// A task. Its tid cannot be reused before it is reaped, which [`Task::holds_number`] detects.
pub(super) struct Task {
    tid: u32,
    pidfd: OwnedFd,
    /// Start time of the thread, on kernels without pidfds of threads (before Linux 6.9).
    start: Option<u64>,
}

impl Task {
    /// Opens the task that currently has this tid.
    pub(super) fn open(procfs: &Procfs, tid: u32) -> Result<Self, Errno> {
        match process::pidfd_open(tid, true) {
            Ok(pidfd) => Ok(Task { tid, pidfd, start: None }),
            Err(Errno::EINVAL) => Self::open_by_group(procfs, tid),
            Err(errno) => Err(errno),
        }
    }

    /// Like [`open`](Self::open), but with a pidfd of the thread group and the start time of the thread.
    pub(super) fn open_by_group(procfs: &Procfs, tid: u32) -> Result<Self, Errno> {
        let pidfd = process::pidfd_open(status(procfs, tid)?.tgid, false)?;
        let start = Some(start(procfs, tid)?);
        Ok(Task { tid, pidfd, start })
    }

    pub(super) fn tid(&self) -> u32 {
        self.tid
    }

    /// Returns whether the tid still names this task. If so, it did so at all times since [`Task::open`].
    pub(super) fn holds_number(&self, procfs: &Procfs) -> bool {
        process::holds_number(self.pidfd.as_fd())
            && self.start.is_none_or(|known| start(procfs, self.tid) == Ok(known))
    }

    /// Thread group and parent of this task; `ESRCH` if it is gone.
    pub(super) fn info(&self, procfs: &Procfs) -> Result<TaskInfo, Errno> {
        match process::task_info(self.pidfd.as_fd()) {
            // A pidfd of the thread group reports about the leader, so it is only used for thread pidfds.
            Ok(info) if self.start.is_none() => Ok(info),
            Err(Errno::ESRCH) => Err(Errno::ESRCH),
            _ => {
                let info = status(procfs, self.tid)?;
                if self.holds_number(procfs) { Ok(info) } else { Err(Errno::ESRCH) }
            }
        }
    }
}

/// Thread group and parent of the task that currently has this tid.
fn status(procfs: &Procfs, tid: u32) -> Result<TaskInfo, Errno> {
    let text = procfs.read(tid, "status").map_err(no_task)?;
    let value = |key| status_values(&text, key)?.first()?.parse().ok();
    let all = || Some(TaskInfo { tgid: value("Tgid")?, ppid: value("PPid")? });
    all().ok_or(Errno::ESRCH)
}

fn start(procfs: &Procfs, tid: u32) -> Result<u64, Errno> {
    let text = procfs.read(tid, "stat").map_err(no_task)?;
    stat_field(&text, STAT_START).ok_or(Errno::ESRCH)
}

/// procfs reports a missing task as `ENOENT`.
fn no_task(errno: Errno) -> Errno {
    if errno == Errno::ENOENT { Errno::ESRCH } else { errno }
}
