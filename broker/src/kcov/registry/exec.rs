//! Following an `execve`: by a thread that is not the leader of its group, which then takes the leader's id.

use super::*;

impl Registry {
    /// A caller is about to `execve`. `Ok(false)`: it has to wait for another one of its group.
    ///
    /// # Errors
    /// As `pidfd_open(2)`.
    pub fn exec(&mut self, caller: Tid, id: NotificationId) -> Result<bool, Errno> {
        let Some(group) = crate::sys::procfs::thread_group(caller) else { return Ok(true) };
        self.settle(group, caller);
        if group == caller {
            return Ok(true);
        }
        // An exec hands on what the thread owns, and ends what the leader owns.
        let hands_on = [caller, group].map(|tid| self.device.is_owner(tid) || self.commons.of(tid) != 0);
        if hands_on == [false, false] {
            return Ok(true);
        }
        let first = self.threads.exec(group, caller, id).map_err(from_system)?;
        for tid in [caller, group] {
            self.mark(tid, true);
        }
        Ok(first)
    }

    /// Settles who `caller` is, if an `execve` may have changed that.
    pub fn settle_caller(&mut self, caller: Tid) {
        let group = self.threads.group_of(caller).unwrap_or(caller);
        self.settle(group, caller);
    }

    pub(super) fn settle(&mut self, group: Tid, caller: Tid) {
        match self.threads.outcome(group, caller) {
            ExecOutcome::Open => {}
            ExecOutcome::Failed => {
                if let Some(tid) = self.end_exec(group)
                    && self.threads.is_dead(tid)
                {
                    self.owner_exit(tid);
                }
            }
            ExecOutcome::Done { old } => self.rebind(old, group),
        }
    }

    /// Forgets the pending `execve` of `group`, and lets those go on that waited for it. Returns whose it was.
    pub(super) fn end_exec(&mut self, group: Tid) -> Option<Tid> {
        let (tid, waiting) = self.threads.settle(group)?;
        for tid in [tid, group] {
            self.mark(tid, false);
        }
        self.released_execs.extend(waiting);
        Some(tid)
    }

    /// `old`, which has exec'ed, is `group` now.
    pub(super) fn rebind(&mut self, old: Tid, group: Tid) {
        self.device.rebind(old, group);
        self.commons.rebind(old, group);
        self.threads.forget(group);
        self.threads.forget(old);
        let armed = self.device.armed(group);
        let _ = self.roster.set(old, RosterEntry::default());
        let _ = self.roster.set(group, RosterEntry { armed, settle: false });
        if self.device.is_owner(group)
            && let Err(errno) = self.own(group)
        {
            info!(event = "owner_exit", tid = group, %errno, "an owner cannot be held on to");
        }
        info!(event = "exec_rebind", tid = group, old, "a thread became the leader of its group");
        self.end_exec(group);
        self.show_counts();
    }

    pub(super) fn mark(&mut self, tid: Tid, settle: bool) {
        let line = self.roster.find(tid);
        // A full roster cannot list the mark; the exec then ends what the thread owns, which is the lesser evil.
        let _ = self.roster.set(tid, RosterEntry { settle, ..line });
    }

    /// Whether `tid` is in the middle of an `execve` that may give it another number.
    pub(super) fn is_in_exec(&mut self, tid: Tid) -> bool {
        if let Some(group) = self.threads.group_of(tid) {
            self.settle(group, 0);
        }
        self.threads.group_of(tid).is_some()
    }

    /// Settles `execve`s that ended without a traced call after them.
    pub fn sweep_execs(&mut self) {
        for group in self.threads.groups() {
            match self.threads.gave_up(group) {
                true => drop(self.end_exec(group)),
                false => self.settle(group, 0),
            }
        }
    }
}
