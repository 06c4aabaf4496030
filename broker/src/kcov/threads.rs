//! The threads of a tenant that matter to its device: who owns an instance, and who may have exec'ed.

use crate::sys::pidfd;
use crate::sys::process::pidfd_open;
use crate::sys::procfs;
use indexmap::IndexMap;
use kcov_proto::device::Tid;
use kcov_proto::message::NotificationId;
use nix::errno::Errno;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A thread that died over its `execve` although no new image appears was killed, or left for good.
const EXEC_PATIENCE: Duration = Duration::from_secs(2);

/// An `execve` of a thread that is not the leader of its group, which the kernel was let to run.
#[derive(Debug)]
struct PendingExec {
    tid: Tid,
    pidfd: OwnedFd,
    /// The leader's start of the stack before: another one afterwards means that the exec happened.
    start_stack: u64,
    since: Instant,
    /// Further `execve`s of the group: not let to run before the outcome of this one is known.
    waiting: Vec<NotificationId>,
}

/// How an `execve` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecOutcome {
    /// It is still under way.
    Open,
    /// The image is the old one.
    Failed,
    /// `old` is the leader now.
    Done {
        /// The id that it had.
        old: Tid,
    },
}

/// Threads that own nothing any more whose pidfd is kept: most of them enable again soon.
const MOST_IDLE: usize = 256;

/// Owners by pidfd, and pending execs by thread group.
#[derive(Debug, Default)]
pub struct Threads {
    owners: HashMap<Tid, OwnedFd>,
    /// Former owners, so that the next ENABLE of the thread costs no pidfd; the oldest goes first.
    idle: IndexMap<Tid, OwnedFd>,
    execs: HashMap<Tid, PendingExec>,
}

impl Threads {
    /// Holds on to `tid`, which owns an instance from here on. Says whether its pidfd is new, and to be watched.
    ///
    /// # Errors
    /// As `pidfd_open(2)`: `ESRCH` if it is gone, `EMFILE`.
    pub fn own(&mut self, tid: Tid) -> Result<bool, Errno> {
        if self.owners.contains_key(&tid) {
            return Ok(false);
        }
        // A thread that died is forgotten when its pidfd says so, which comes before any call of a later thread of that
        // number.
        if let Some(pidfd) = self.idle.shift_remove(&tid) {
            self.owners.insert(tid, pidfd);
            return Ok(false);
        }
        let pidfd = match pidfd_open(tid, true) {
            // Before Linux 6.9: the thread group's, and the scan of exiting threads does the rest.
            Err(Errno::EINVAL) => pidfd_open(procfs::thread_group(tid).ok_or(Errno::ESRCH)?, false)?,
            other => other?,
        };
        self.owners.insert(tid, pidfd);
        Ok(true)
    }

    /// The pidfd of an owner.
    #[must_use]
    pub fn pidfd(&self, tid: Tid) -> Option<BorrowedFd<'_>> {
        self.owners.get(&tid).map(AsFd::as_fd)
    }

    /// `tid` owns nothing any more, but may again.
    pub fn disown(&mut self, tid: Tid) {
        let Some(pidfd) = self.owners.remove(&tid) else { return };
        if self.idle.len() >= MOST_IDLE {
            self.idle.shift_remove_index(0);
        }
        self.idle.insert(tid, pidfd);
    }

    /// Lets go of former owners.
    pub fn forget_idle(&mut self) {
        self.idle.clear();
    }

    /// `tid` is gone.
    pub fn forget(&mut self, tid: Tid) {
        self.owners.remove(&tid);
        self.idle.shift_remove(&tid);
    }

    /// Whether the owner of that number is dead, so that another thread may have the number now.
    #[must_use]
    pub fn is_dead(&self, tid: Tid) -> bool {
        self.owners.get(&tid).is_some_and(|pidfd| pidfd::is_dead(pidfd.as_fd()))
    }

    /// Whether the owner has begun to exit: join, wait and the end of a pipe may have told others already.
    #[must_use]
    pub fn is_exiting(&self, tid: Tid) -> bool {
        self.is_dead(tid) || procfs::stat(tid).is_none_or(|stat| stat.exiting)
    }

    /// Notes that `tid` of `group` is let to run an `execve`. `Ok(false)`: another one is under way, and `id` waits.
    ///
    /// # Errors
    /// As `pidfd_open(2)`.
    pub fn exec(&mut self, group: Tid, tid: Tid, id: NotificationId) -> Result<bool, Errno> {
        match self.execs.get_mut(&group) {
            Some(pending) if pending.tid != tid => {
                pending.waiting.push(id);
                return Ok(false);
            }
            Some(_) => return Ok(true),
            None => {}
        }
        let pidfd = pidfd_open(tid, true)?;
        let start_stack = procfs::stat(group).map_or(0, |stat| stat.start_stack);
        self.execs.insert(
            group,
            PendingExec { tid, pidfd, start_stack, since: Instant::now(), waiting: Vec::new() },
        );
        Ok(true)
    }

    /// The group in which `tid` has an `execve` under way.
    #[must_use]
    pub fn group_of(&self, tid: Tid) -> Option<Tid> {
        self.execs.iter().find(|(_, pending)| pending.tid == tid).map(|(&group, _)| group)
    }

    /// Groups with an `execve` under way.
    #[must_use]
    pub fn groups(&self) -> Vec<Tid> {
        self.execs.keys().copied().collect()
    }

    /// What became of the pending `execve` of `group`, as seen while `caller` (0 for nobody) makes a call.
    #[must_use]
    pub fn outcome(&self, group: Tid, caller: Tid) -> ExecOutcome {
        let Some(pending) = self.execs.get(&group) else { return ExecOutcome::Failed };
        if caller == pending.tid {
            return ExecOutcome::Failed;
        }
        if !pidfd::is_dead(pending.pidfd.as_fd()) {
            return ExecOutcome::Open;
        }
        match procfs::stat(group) {
            Some(stat) if stat.start_stack != pending.start_stack => ExecOutcome::Done { old: pending.tid },
            // The thread has its new id before it has its new stack: only a call of the leader's own shows that
            // nothing of that is under way.
            Some(_) if caller != group && pending.since.elapsed() < EXEC_PATIENCE => ExecOutcome::Open,
            _ => ExecOutcome::Failed,
        }
    }

    /// Whether the thread has left its `execve` without a word: it failed and made no traced call since.
    #[must_use]
    pub fn gave_up(&self, group: Tid) -> bool {
        let execs =
            [libc::SYS_execve, libc::SYS_execveat, 11 /* i386 execve */, 358 /* i386 execveat */];
        self.execs.get(&group).is_some_and(|pending| {
            procfs::current_call(pending.tid).is_some_and(|call| !execs.contains(&call))
        })
    }

    /// Forgets the pending `execve` of `group`: who had it, and which others waited for it.
    pub fn settle(&mut self, group: Tid) -> Option<(Tid, Vec<NotificationId>)> {
        self.execs.remove(&group).map(|PendingExec { tid, waiting, .. }| (tid, waiting))
    }
}
