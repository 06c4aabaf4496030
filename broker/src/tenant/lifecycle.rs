//! Workers and zygotes that start and end.

use super::Tenant;
use super::calls::reassigned::Lost;
use super::error::{TenantError, system};
use super::requests::Outcome;
use super::token::Token;
use super::workers::deaths::{self, Death};
use super::workers::output::WorkerOutput;
use super::workers::process::{AllegedCall, Sockets, Worker};
use super::workers::restarts::Next;
use super::workers::supervision::PAST_DEADLINE;
use crate::processes::spawner::message::Start;
use crate::processes::spawner_client::{Ordered, SpawnError, Spawned};
use crate::sys::shared::SharedWords;
use crate::sys::socket::{self, Channel, ChannelError};
use kcov_proto::message::{NotificationId, Order, Response, ZygoteReply};
use kcov_proto::sync::Ordering;
use kcov_proto::{Errno, journal, slot};
use nix::errno::Errno as SysErrno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};

impl Tenant {
    /// Has the zygote fork a worker, with a reader of its own, unless one is on its way.
    pub(super) fn start_worker(&mut self) -> Result<(), TenantError> {
        let Some(index) = self.workers.next_index() else { return Ok(()) };
        let (ours, theirs) = socket::pair()?;
        let (our_orders, their_orders) = socket::pair()?;
        let (requests, workers_end) = socket::pair()?;
        let slot = SharedWords::new(c"kcov-slot", slot::WORDS).map_err(system("memfd_create"))?;
        slot[slot::TIMED].store(self.launch.timed(), Ordering::Relaxed);
        let journal = SharedWords::new(c"kcov-journal", journal::WORDS).map_err(system("memfd_create"))?;
        let (output, their_output) = WorkerOutput::new().map_err(system("pipe2"))?;
        let descriptors: [&dyn AsFd; 8] = [
            &self.calls.listener(),
            &theirs,
            &their_orders,
            &workers_end,
            &slot.file(),
            &self.roster,
            &journal.file(),
            &their_output,
        ];
        self.zygote.fork(index, &descriptors)?;
        let sockets = Sockets { channel: ours.into(), orders: our_orders.into(), output, journal, slot };
        self.workers.expect(index, sockets, Instant::now());
        // Last: the zygote forks meanwhile, and callers need the worker before they need its reader.
        self.readers.start(index, (requests, workers_end), &mut self.spawner, self.calls.listener())?;
        self.await_reader()
    }

    fn start_next(&mut self, next: Next) -> Result<(), TenantError> {
        match next {
            Next::Now => self.start_worker(),
            Next::Later => Ok(()),
            Next::Never => Err(TenantError::Workers),
        }
    }

    /// Starts the worker that was delayed, once it is due.
    pub(super) fn start_due_worker(&mut self, now: Instant) -> Result<(), TenantError> {
        if self.workers.restarts.take_due(now) { self.start_worker() } else { Ok(()) }
    }

    /// Handles a message of the zygote, or its end.
    ///
    /// # Errors
    /// If the tenant cannot be served any longer.
    pub fn zygote_readable(&mut self) -> Result<(), TenantError> {
        match self.zygote.receive() {
            Ok(ZygoteReply::Forked { pid }) => self.worker_forked(pid)?,
            Ok(ZygoteReply::Exited { pid, signal, status }) => {
                debug!(event = "worker_exit", pid, signal, status, "worker reaped");
                self.workers.note_end(pid, signal, status);
                self.report_deaths(Instant::now());
            }
            Ok(ZygoteReply::Failed(errno)) => {
                warn!(%errno, "the zygote cannot fork a worker");
                self.workers.cancel_expected();
                self.worker_failed_to_start()?;
            }
            // The zygote is one that replaced another.
            Ok(ZygoteReply::Ready { claims }) if claims == self.claims => self.zygote.is_ready_now(),
            Ok(ZygoteReply::Ready { .. }) => {
                let message = "the handlers claim something else when they are loaded again";
                return Err(TenantError::Handler(message.to_owned()));
            }
            Ok(ZygoteReply::Refused { message }) => return Err(TenantError::Handler(message)),
            Ok(ZygoteReply::Unjailed { message }) => return Err(TenantError::Jail(message)),
            Ok(ZygoteReply::Loading { handler }) => debug!(handler, "loading"),
            Ok(ZygoteReply::Loaded { modules }) => self.zygote.loaded(modules),
            Err(ChannelError::WouldBlock) => {}
            Err(error) => {
                warn!(event = "zygote_crash", %error, "zygote ended; starting a new one");
                self.replace_zygote()?;
            }
        }
        Ok(())
    }

    fn replace_zygote(&mut self) -> Result<(), TenantError> {
        self.poller.remove(self.zygote.channel());
        self.zygote.kill();
        let (ours, theirs) = socket::pair()?;
        self.spawner.start(&Start::Zygote, &[&theirs], Ordered::Zygote)?;
        drop(theirs);
        let was_ready = self.zygote.replace(Channel::from(ours));
        self.zygote_restarts += 1;
        self.poller.add(self.zygote.channel(), Token::Zygote).map_err(system("epoll_ctl"))?;
        // The old zygote's workers die with it, and their ends start new ones. A worker that was only expected counts as
        // one that died early, and so does a zygote that never became ready.
        if self.workers.cancel_expected() || !was_ready {
            self.worker_failed_to_start()?;
        }
        Ok(())
    }

    /// Handles a reply of the spawner, or its end.
    ///
    /// # Errors
    /// If the tenant cannot be served any longer.
    pub fn spawner_readable(&mut self) -> Result<(), TenantError> {
        match self.spawner.receive() {
            Ok((what, process)) => return self.spawned(what, process),
            Err(ChannelError::WouldBlock) => {}
            Err(_) => {
                self.poller.remove(&self.spawner);
                error!("the spawner ended: workers and readers can no longer be replaced");
            }
        }
        Ok(())
    }

    fn spawned(&mut self, what: Ordered, process: Result<Spawned, SpawnError>) -> Result<(), TenantError> {
        match (what, process) {
            (Ordered::Zygote, process) => self.zygote.started(process?),
            (Ordered::Reader(index), Ok(process)) => self.readers.started(index, process)?,
            (Ordered::Reader(index), Err(error)) => {
                warn!(%error, "cannot start a reader; its worker is replaced");
                let worker = self.readers.worker_of(index).and_then(|worker| self.workers.get_mut(worker));
                worker.into_iter().for_each(|worker| worker.kill("its reader did not start"));
            }
            (Ordered::Artifact, process) => {
                self.artifacts.writer_started(process, (&mut self.spawner, &self.poller));
            }
            (Ordered::Sightings, _) => {}
        }
        Ok(())
    }

    /// Waits a moment for the reader that was ordered, which is usually there within a millisecond. A spawner that is stopped
    /// must not hold up other calls.
    ///
    /// # Errors
    /// If the tenant cannot be served any longer.
    pub(super) fn await_reader(&mut self) -> Result<(), TenantError> {
        /// A busy machine takes that long. A stopped spawner costs it once, not for each order.
        const MOMENT: Duration = Duration::from_millis(300);
        let end = Instant::now() + MOMENT;
        while !self.spawner.is_idle_or_slow(MOMENT) {
            match self.spawner.receive_until(end) {
                Some((what, process)) => self.spawned(what, process)?,
                None => break,
            }
        }
        Ok(())
    }

    /// Gives up a spawner that does not answer, as no worker or reader can be replaced.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) fn look_at_spawner(&mut self, now: Instant) -> Result<(), TenantError> {
        match self.spawner.is_late(now) {
            true => Err(SpawnError::Channel(ChannelError::WouldBlock).into()),
            false => Ok(()),
        }
    }

    fn worker_forked(&mut self, pid: u32) -> Result<(), TenantError> {
        let Some((index, sockets)) = self.workers.take_expected() else {
            warn!(pid, "the zygote forked a worker that was not requested");
            return Ok(());
        };
        match self.zygote.child(pid) {
            Ok(pidfd) => self.add_worker(index, pid, pidfd, sockets),
            // It is dead already, or not what the zygote says.
            Err(errno) => {
                warn!(event = "worker_lost", pid, %errno, "zygote reported a pid that is not its child");
                self.worker_failed_to_start()
            }
        }
    }

    fn add_worker(
        &mut self,
        index: u32,
        pid: u32,
        pidfd: OwnedFd,
        sockets: Sockets,
    ) -> Result<(), TenantError> {
        let watching = || system("watching a worker");
        self.poller.add(&sockets.channel, Token::Worker(index)).map_err(watching())?;
        self.poller.add(&sockets.output, Token::WorkerOutput(index)).map_err(watching())?;
        self.poller.add_once(pidfd.as_fd(), Token::WorkerEnd(index)).map_err(watching())?;
        self.workers.insert(index, pid, pidfd, sockets, Instant::now());
        debug!(event = "worker_start", pid, "worker forked");
        Ok(())
    }

    fn worker_failed_to_start(&mut self) -> Result<(), TenantError> {
        let next = self.workers.restarts.failed_to_start(Instant::now());
        self.start_next(next)
    }

    /// Reads what a worker wrote.
    pub fn worker_output_readable(&mut self, index: u32) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        if !worker.output().take() {
            self.poller.remove(worker.output());
        }
    }

    /// A worker is dead: answers its callers, starts the next worker, and reports how this one ended.
    ///
    /// # Errors
    /// If the tenant cannot be served any longer.
    pub fn worker_ended(&mut self, index: u32) -> Result<(), TenantError> {
        // Requests that it sent before it died still count.
        while self.worker_readable(index) {}
        let Some(mut worker) = self.workers.remove(index) else { return Ok(()) };
        self.poller.remove(worker.channel());
        self.poller.remove(worker.output());
        self.readers.forget_worker(index);
        let (call, now) = (worker.alleged_call(), Instant::now());
        if self.calls.is_unused() {
            // A worker ends by itself when no process of the tenant is left.
            if self.artifacts.are_wanted() {
                self.report_end(Death { worker, call, is_crash: false, since: now });
            }
            return Ok(());
        }
        let lost = self.note_lost(index, &worker, &call);
        self.give_up_opening(index, &call);
        if !self.handle_again(&worker, &call, lost, now) {
            self.answer_for_dead(&worker, &call);
        }
        let next = match worker.is_serving() {
            true => self.workers.restarts.crashed(worker.alleged_taken(), now),
            false => self.workers.restarts.failed_to_start(now),
        };
        self.take_waiting(now, next == Next::Now && self.zygote.is_ready());
        self.counters.worker_crashes += 1;
        self.report_end(Death { worker, call, is_crash: true, since: now });
        self.start_next(next)
    }

    /// Reports a death, at the latest when its status is due.
    fn report_end(&mut self, death: Death) {
        let now = death.since;
        self.workers.deaths.add(death);
        self.report_deaths(now);
    }

    /// Writes log lines and artifacts of dead workers whose status is known or will not come.
    pub(super) fn report_deaths(&mut self, now: Instant) {
        for Death { mut worker, call, is_crash, .. } in self.workers.deaths.take_due(now) {
            let helpers = (&mut self.spawner, &*self.poller);
            self.artifacts.keep(&mut worker, &call, self.zygote.modules(), helpers);
            if is_crash {
                self.log.crash(&worker, &call, now);
            }
        }
    }

    /// Reports all deaths, at the end of the run. Waits for the zygote's reports for a bounded time.
    pub(super) fn report_last_deaths(&mut self) {
        let end = Instant::now() + deaths::PATIENCE;
        while !self.workers.deaths.is_empty() && Instant::now() < end {
            match self.zygote.receive_within(deaths::PATIENCE.as_millis() as u16) {
                Ok(ZygoteReply::Exited { pid, signal, status }) => self.workers.note_end(pid, signal, status),
                Ok(_) => {}
                Err(_) => break,
            }
            self.report_deaths(Instant::now());
        }
        self.report_deaths(Instant::now() + deaths::PATIENCE);
    }

    /// The reassigned calls of a dead worker go to the next one. Returns the call that it had in flight, if that was
    /// reassigned.
    fn note_lost(&mut self, index: u32, worker: &Worker, call: &AllegedCall) -> Option<Lost> {
        self.calls.forget_answered();
        if worker.killed() == Some(PAST_DEADLINE) && call.id != 0 {
            self.calls.reassigned.note_hung(call.order.clone());
        }
        self.calls.reassigned.worker_died(index, call.id)
    }

    /// Has the next worker handle the call that killed this one, if its handlers allow that and nothing was done for it,
    /// or if it is an open, which has no effect until it is answered. Returns whether it does.
    fn handle_again(
        &mut self,
        worker: &Worker,
        call: &AllegedCall,
        lost: Option<Lost>,
        now: Instant,
    ) -> bool {
        let declared = self.claims.handlers.iter().any(|handler| handler.idempotent);
        let elsewhere = self.calls.reassigned.has(call.id) || self.workers.alleged_ids().contains(&call.id);
        let repeatable =
            declared && worker.left_repeatable(call.id) || self.claimed.may_open_a_device(&call.order);
        let may = repeatable && !elsewhere && self.calls.is_in_flight(call.id);
        let received = worker.received_after();
        if !may || !self.calls.reassigned.add_again(call.id, call.order.clone(), lost, received, now) {
            return false;
        }
        self.counters.retries += 1;
        info!(event = "retry", tid = call.tid, call = call.name, "the next worker handles the call again");
        true
    }

    /// Answers what a dead worker left unanswered.
    fn answer_for_dead(&mut self, worker: &Worker, call: &AllegedCall) {
        if let Some((id, answer)) = worker.promised() {
            self.calls.answer(id, answer);
        }
        if call.id != 0 && self.finish_call(call) {
            return;
        }
        for id in self.calls.hidden(&self.workers.alleged_ids()) {
            self.calls.answer(id, Response::Fail(Errno::EIO));
        }
    }

    /// Answers a call that its worker did not answer: one of ours fails, the kernel runs any other. Returns whether its
    /// caller was still waiting.
    fn finish_call(&mut self, call: &AllegedCall) -> bool {
        let Order::Call { id, tid, .. } = call.order else { return false };
        if self.claimed.has(&call.order) {
            return self.calls.answer(id, Response::Fail(Errno::EIO));
        }
        self.run_unclaimed(id, tid, &call.order)
    }

    /// Has the kernel run a call that is not ours, after what the device needs of it. Returns whether its caller was still
    /// waiting.
    fn run_unclaimed(&mut self, id: NotificationId, tid: u32, call: &Order) -> bool {
        let outcome = self.device_part(id, tid, call);
        self.settle();
        if self.registry.collects(tid) {
            self.workers.count_lost_record();
        }
        match outcome {
            Outcome::Answer(answer) => self.calls.answer(id, answer),
            _ => true,
        }
    }

    /// Takes the calls that wait, if there is no worker that may receive them. If the next worker is here soon, it gets them.
    /// Otherwise it gets only those that are ours, and opens, which may be of a handler's device; the kernel runs the others
    /// at once.
    pub(super) fn take_waiting(&mut self, now: Instant, is_next_soon: bool) {
        if !self.workers.is_empty() {
            return;
        }
        let claimed = &self.claimed;
        let keep = |call: &Order| is_next_soon || claimed.has(call) || claimed.may_open_a_device(call);
        for call in self.calls.take_waiting(now, keep) {
            if let Order::Call { id, tid, .. } = call {
                self.run_unclaimed(id, tid, &call);
            }
        }
    }

    /// Watches for the end of the owner of an instance.
    pub(super) fn watch_owner(&mut self, tid: u32) {
        let Some(pidfd) = self.registry.owner_pidfd(tid) else { return };
        match self.poller.add_once(pidfd, Token::Owner(tid)) {
            Ok(()) | Err(SysErrno::EEXIST) => {}
            // Its exit is still noticed by the next thread that asks for the instance.
            Err(errno) => warn!(%errno, tid, "cannot watch an owner"),
        }
    }
}
