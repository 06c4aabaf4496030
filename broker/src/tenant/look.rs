//! The regular look at what nobody reports: hangs, last closes, deaths without a word.

use super::Tenant;
use super::error::TenantError;
use super::workers::process::Worker;
use super::workers::supervision::{self, KEEPS_A_CALL, PAST_DEADLINE, Surroundings, TAKES_NO_CALL};
use crate::kcov::files::Files;
use kcov_proto::Errno;
use kcov_proto::message::{NotificationId, Response};
use std::time::{Duration, Instant};
use tracing::warn;

/// Bytes of an arena that may wait until the worker unmaps it: giving them back costs a system call.
const SMALL: u64 = 16 * 1024;

impl Tenant {
    /// How often [`look`](Self::look) is due.
    #[must_use]
    pub fn pace(&self) -> Duration {
        /// While a worker is asked where it is, or the next one is delayed: callers wait for that.
        const SHORT: Duration = Duration::from_millis(5);
        let is_asking = self.workers.iter().any(Worker::is_asked);
        if is_asking || self.workers.restarts.is_waiting() { SHORT } else { self.patience() }
    }

    /// How long a reader may be slow before another one takes over what waits for it.
    fn patience(&self) -> Duration {
        (self.deadline / 8).clamp(Duration::from_millis(5), Duration::from_millis(100))
    }

    /// Notices last closes, and starts a worker that is due. Cheap; done at each tick.
    ///
    /// # Errors
    /// If no worker can be started.
    pub fn sweep(&mut self, now: Instant) -> Result<(), TenantError> {
        self.registry.sweep(false);
        self.unmap_gone();
        self.sweep_files(false);
        // Each table costs a descriptor, and most of these threads may be gone.
        self.tables.clear();
        self.look_at_spawner(now)?;
        self.start_due_worker(now)
    }

    /// Looks at readers, calls and workers; ends what is stuck, a reader first, as its worker may only be waiting for it.
    pub fn look(&mut self, now: Instant) {
        let reader_ended = self.look_at_readers(now, self.patience());
        self.look_at_openings(now);
        self.look_at_reassigned(now);
        self.look_at_zygote(now);
        let calls = self.calls.look(&self.workers.alleged_ids(), now);
        if self.calls.waited(2 * self.deadline, now) {
            self.workers.kill_all(TAKES_NO_CALL);
        }
        if self.calls.waited(self.deadline / 4, now) {
            self.take_waiting(now, false);
        }
        self.answer_overdue(now);
        let has_handlers = !self.claims.is_empty();
        let around = Surroundings { calls, reader_ended, has_handlers, deadline: self.deadline };
        for worker in self.workers.iter_mut() {
            let seen = worker.look(now);
            worker.apply(supervision::decide(&seen, &around), now);
        }
        self.interruptions.look(&self.workers);
        self.registry.sweep_execs();
        self.settle();
        self.report_deaths(now);
        self.artifacts.update(now, &mut self.spawner);
        self.report_due(false);
    }

    fn look_at_zygote(&mut self, now: Instant) {
        if self.workers.is_fork_late(self.zygote.is_ready(), now) {
            let pid = self.zygote.pid();
            warn!(event = "zygote_stuck", pid, "the zygote does not fork; starting a new one");
            self.zygote.kill();
        }
    }

    /// Gives up reassigned calls whose time is over. An open may be of a handler's device, so it is run as any other call that
    /// is not ours.
    fn look_at_reassigned(&mut self, now: Instant) {
        self.calls.forget_answered();
        let workers = &self.workers;
        let is_begun = |id, index| workers.get(index).is_some_and(|worker| worker.alleged_id() == id);
        for (id, worker, call) in self.calls.reassigned.take_due(now, is_begun) {
            let response = match self.claimed.has(&call) {
                true => Response::Fail(Errno::EIO),
                false => Response::Continue,
            };
            let was_waiting = self.calls.answer(id, response);
            let worker = worker.and_then(|index| self.workers.get_mut(index));
            if let Some(worker) = worker.filter(|worker| was_waiting && worker.alleged_id() == id) {
                worker.interrupt(PAST_DEADLINE);
            }
        }
    }

    /// Gives up opens that no worker has decided in time.
    fn look_at_openings(&mut self, now: Instant) {
        let overdue = self.files.as_mut().map(|files| files.take_overdue(now)).unwrap_or_default();
        for (id, worker) in overdue {
            self.calls.answer(id, Response::Fail(Errno::EIO));
            if let Some(worker) = worker.and_then(|index| self.workers.get_mut(index)) {
                worker.interrupt(PAST_DEADLINE);
            }
        }
    }

    /// Answers calls that somebody received and nobody answers. The workers are ended first: one of them keeps the call,
    /// and would receive the caller's next one.
    fn answer_overdue(&mut self, now: Instant) {
        let overdue: Vec<NotificationId> = self.calls.take_overdue(now);
        for id in overdue {
            warn!(event = "overdue", id, "a call was not answered within two deadlines");
            self.workers.kill_all(KEEPS_A_CALL);
            self.calls.answer(id, Response::Fail(Errno::EIO));
        }
    }

    /// Takes the arenas that ended from the workers, which unmap them with their next reply. Their memory is given back
    /// now.
    pub(super) fn unmap_gone(&mut self) {
        for (id, arena) in self.registry.take_gone() {
            if self.workers.drop_arena(id) && arena.bytes() > SMALL {
                arena.empty();
            }
        }
    }

    /// Does what a change of the registry leaves to do: `execve`s that waited for another one go on, new owners are
    /// watched, arenas that ended are unmapped.
    pub(super) fn settle(&mut self) {
        for id in self.registry.take_released_execs() {
            self.calls.answer(id, Response::Continue);
        }
        for tid in self.registry.take_unwatched() {
            self.watch_owner(tid);
        }
        self.unmap_gone();
    }

    /// The pidfd of an owner became readable.
    pub fn owner_ended(&mut self, tid: u32) {
        self.registry.owner_died(tid);
        self.settle();
    }

    /// Whether no instance and no file of a handler's device is left.
    #[must_use]
    pub fn has_no_instances(&self) -> bool {
        self.registry.instances() + self.files.as_ref().map_or(0, Files::live) == 0
    }

    /// One step of waiting for the tenant's last closes, after its last process ended. `owners`: threads that ended.
    pub fn sweep_last(&mut self, owners: impl Iterator<Item = u32>) {
        owners.for_each(|tid| self.registry.owner_died(tid));
        // An owner that died in an `execve` is given up only here.
        self.registry.sweep_execs();
        self.registry.sweep(true);
        self.unmap_gone();
        self.sweep_files(true);
    }
}
