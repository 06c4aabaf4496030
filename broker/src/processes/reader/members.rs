//! Checks that a thread belongs to the tenant.
//!
//! A tenant's processes are the descendants of its root. The root is a child subreaper, so orphans are reparented to it
//! or to an ancestor below it. A task that once was a descendant therefore stays one until it dies. So the result can be
//! cached as long as the tid is verified to name the same task.

use super::procfs::Procfs;
use super::task::Task;
use nix::errno::Errno;
use std::collections::{HashMap, VecDeque};

/// Maximum number of cached threads; each takes a descriptor.
const MAX_KNOWN: usize = 256;
/// Maximum number of steps up the ancestry of a thread, including retries. Threads nested deeper are refused.
const MAX_STEPS: usize = 1 << 15;

/// The process that all processes of a tenant descend from: the tender. It does not belong to the tenant itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantRoot {
    /// Its pid, in the PID namespace of this process.
    pub pid: u32,
}

/// The tenant's root, and threads that are known to be its descendants.
pub(super) struct Members {
    root: Task,
    known: HashMap<u32, Task>,
    /// Keys of `known`, oldest first.
    order: VecDeque<u32>,
}

impl Members {
    /// Starts with an empty cache.
    pub(super) fn of(procfs: &Procfs, tenant: TenantRoot) -> Result<Self, Errno> {
        let root = Task::open(procfs, tenant.pid)?;
        Ok(Members { root, known: HashMap::new(), order: VecDeque::new() })
    }

    /// Checks that thread `tid` belongs to the tenant. Work done with this tid is only valid if a later
    /// [`confirm`](Self::confirm) succeeds.
    ///
    /// # Errors
    /// `EPERM` if the thread does not belong to the tenant, `ESRCH` if it does not exist.
    pub(super) fn admit(&mut self, procfs: &Procfs, tid: u32) -> Result<(), Errno> {
        if self.known.contains_key(&tid) {
            return Ok(());
        }
        // The kernel reports 0 for callers outside of the receiver's PID namespace.
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

    /// Returns whether `tid` still names the task that was admitted; forgets it if not.
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

    /// Follows the chain of parents. A pid may be reused between two reads, so a step only counts if the child has the
    /// same parent before and after the parent's pidfd was opened: a child never gets a former parent back.
    fn is_below_root(&self, procfs: &Procfs, task: &Task) -> Result<bool, Errno> {
        let mut pinned: Option<Task> = None;
        for _ in 0..MAX_STEPS {
            let child = pinned.as_ref().unwrap_or(task);
            let parent = match child.info(procfs) {
                Ok(info) => info.ppid,
                // An ancestor died and its children were reparented: start again.
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
