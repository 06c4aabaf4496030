//! Which threads belong to the tenant.
//!
//! A tenant's processes are the descendants of its root, which is a subreaper: whoever loses its parent becomes
//! a child of an ancestor below the root, or of the root. So membership, once shown, never ends before the task
//! does, and may be remembered for as long as the number is shown to name the same task.

use super::TenantRoot;
use super::procfs::Procfs;
use super::task::Task;
use nix::errno::Errno;
use std::collections::{HashMap, VecDeque};

/// Most threads remembered; each costs a descriptor.
const MAX_KNOWN: usize = 256;
/// Most steps up the ancestry of one thread, retries included. A tenant that nests deeper is refused.
const MAX_STEPS: usize = 1 << 15;

/// The tenant's root and the threads that were shown to be below it.
pub(super) struct Members {
    root: Task,
    known: HashMap<u32, Task>,
    /// Keys of `known`, oldest first.
    order: VecDeque<u32>,
}

impl Members {
    /// Nobody known yet below `tenant`.
    pub(super) fn of(procfs: &Procfs, tenant: TenantRoot) -> Result<Self, Errno> {
        let root = Task::open(procfs, tenant.pid)?;
        Ok(Members { root, known: HashMap::new(), order: VecDeque::new() })
    }

    /// Lets the thread with the number `tid` be worked on. What was done by that number counts only if
    /// [`confirm`](Self::confirm) follows.
    ///
    /// # Errors
    /// `EPERM` if it is not the tenant's, `ESRCH` if there is no such thread.
    pub(super) fn admit(&mut self, procfs: &Procfs, tid: u32) -> Result<(), Errno> {
        if self.known.contains_key(&tid) {
            return Ok(());
        }
        // The kernel says 0 of callers that are outside the PID namespace of whoever receives.
        if tid == 0 {
            return Err(Errno::EPERM);
        }
        let task = Task::open(procfs, tid)?;
        if !self.is_below_root(procfs, &task)? {
            return Err(Errno::EPERM);
        }
        self.remember(tid, task);
        Ok(())
    }

    /// Whether the number still names the task that was admitted; forgets it if not.
    pub(super) fn confirm(&mut self, procfs: &Procfs, tid: u32) -> bool {
        let same = self.known.get(&tid).is_some_and(|task| task.holds_number(procfs));
        if !same {
            self.known.remove(&tid);
            self.order.retain(|&known| known != tid);
        }
        same
    }

    fn remember(&mut self, tid: u32, task: Task) {
        while self.order.len() >= MAX_KNOWN {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(tid, task);
        self.order.push_back(tid);
    }

    /// Climbs from parent to parent. A number may change hands between two looks, so a step counts only if the
    /// child names the same parent before and after the parent was pinned: a child never returns to a parent.
    fn is_below_root(&self, procfs: &Procfs, task: &Task) -> Result<bool, Errno> {
        let mut pinned: Option<Task> = None;
        for _ in 0..MAX_STEPS {
            let child = pinned.as_ref().unwrap_or(task);
            let parent = match child.info(procfs) {
                Ok(info) => info.ppid,
                // An ancestor died, and its children have other parents now: from the start.
                Err(Errno::ESRCH) if pinned.take().is_some() => continue,
                Err(errno) => return Err(errno),
            };
            if parent == self.root.tid() {
                return Ok(self.root.holds_number(procfs));
            }
            if parent <= 1 {
                return Ok(false);
            }
            if let Ok(next) = Task::open(procfs, parent)
                && child.info(procfs).is_ok_and(|info| info.ppid == parent)
            {
                pinned = Some(next);
            }
        }
        Ok(false)
    }
}
