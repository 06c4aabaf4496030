//! What workers ask for, and what becomes of those that end or do not.

use super::*;
use crate::tenant::worker_process::PAST_DEADLINE;

impl Broker {
    /// Takes one request of a worker. Says whether there was one.
    pub(super) fn worker_speaks(&mut self, index: u32) -> bool {
        let Some(worker) = self.tenant.workers.get_mut(&index) else { return false };
        // Descriptors come from handlers alone.
        let received = match self.tenant.claims.is_empty() {
            true => worker.channel.try_receive_bare::<Assist>().map(|assist| (assist, Vec::new())),
            false => worker.channel.try_receive::<Assist>(),
        };
        let (assist, descriptors) = match received {
            Ok(received) => received,
            Err(ChannelError::WouldBlock) => return false,
            Err(ChannelError::Closed) => {
                // Its end follows, and is handled then; one that lives on is ended with the next look.
                self.poller.remove(&worker.channel);
                worker.hung_up = true;
                return false;
            }
            Err(error) => {
                warn!(%error, "a worker sent what is no request");
                worker.kill("it sent what is no request");
                return false;
            }
        };
        match self.tenant.assist(index, assist, &descriptors) {
            Ok(None) => {}
            Ok(Some((reply, beside))) => self.reply(index, &reply, &beside),
            Err(fault) => {
                if let Some(worker) = self.tenant.workers.get_mut(&index) {
                    worker.convict(fault.0);
                }
            }
        }
        true
    }

    fn reply(&mut self, index: u32, reply: &AssistReply, beside: &Beside) {
        let Tenant { workers, registry, .. } = &mut self.tenant;
        let Some(worker) = workers.get_mut(&index) else { return };
        let file = match beside {
            Beside::Nothing => None,
            Beside::Arena(id) => registry.arenas().get(*id).map(Arena::file),
            Beside::Socket(socket) => Some(socket.as_fd()),
        };
        let sent = match &file {
            None => worker.channel.try_send(reply, &[]),
            Some(file) => worker.channel.try_send(reply, &[file]),
        };
        match sent {
            Ok(()) => {}
            Err(ChannelError::Closed) => worker.hung_up = true,
            Err(_) => worker.kill("it does not take its replies"),
        }
    }

    pub(super) fn worker_ended(&mut self, index: u32) -> Result<(), TenantError> {
        // What it asked for before it died is still to be done, and its callers to be answered.
        while self.worker_speaks(index) {}
        let Some(mut worker) = self.tenant.workers.remove(&index) else { return Ok(()) };
        self.poller.remove(&worker.channel);
        self.poller.remove(&worker.output);
        self.tenant.count(&worker);
        let in_flight = worker.word(slot::ID) != 0;
        let (arch, number) = worker.alleged_call();
        let call = if in_flight { crate::launch::call_name::of(arch, number) } else { "none".to_owned() };
        let signal = worker.end_signal();
        self.tenant.keep_artifact(&mut worker, &call, signal);
        if self.gone || self.tenant.is_unused() {
            // A worker ends by itself when nobody is left to serve.
            return Ok(());
        }
        let lost = self.tenant.lose(index, &worker);
        self.tenant.reorder(index, worker.word(slot::ID));
        if !self.tenant.retry(&worker, lost, Instant::now(), self.deadline) {
            self.tenant.answer_for_dead(&worker);
        }
        self.tenant.take_waiting(Instant::now(), self.deadline);
        if self.tenant.crash_log.take(Instant::now()) {
            tell_crash(&worker, &call, in_flight, signal);
        }
        self.tenant.counters.worker_crashes += 1;
        match worker.phase {
            crate::tenant::permit::Phase::Starting => self.tenant.worker_failed_to_start(),
            crate::tenant::permit::Phase::Serving { .. } => {
                self.tenant.worker_crashed(worker.word(slot::TAKEN))
            }
        }
    }

    /// Takes what a worker has written.
    pub(super) fn worker_writes(&mut self, index: u32) {
        let Some(worker) = self.tenant.workers.get_mut(&index) else { return };
        if !worker.output.take() {
            self.poller.remove(&worker.output);
        }
    }

    /// Ends what is stuck: a reader first, as the worker may only be waiting for it.
    pub(super) fn look_at_workers(&mut self, now: Instant) {
        let deadline = self.deadline;
        let reader_killed = self.tenant.look_at_readers(now, deadline, self.patience());
        self.tenant.look_at_openings(now, deadline);
        self.tenant.look_at_retries(now, deadline);
        let waiting = self.tenant.listener_says(PollFlags::POLLIN);
        let unanswered = self.tenant.has_unanswered();
        let shown: Vec<u64> = self.tenant.workers.values().map(|worker| worker.word(slot::ID)).collect();
        shown.into_iter().filter(|id| *id != 0).for_each(|id| self.tenant.saw(id));
        self.tenant.look_at_untaken(waiting, unanswered, now, deadline);
        self.tenant.answer_overdue(now, deadline);
        let has_handlers = !self.tenant.claims.is_empty();
        for worker in self.tenant.workers.values_mut() {
            worker.look(now);
            if worker.hung_up {
                worker.kill("it closed its socket");
                continue;
            }
            match Phase::from_word(worker.word(slot::PHASE)) {
                // Idle: a call that comes now has the whole deadline. With an id in the slot it is not: it was stopped
                // between the kernel's copy and its own next instruction.
                Some(Phase::Waiting) if !waiting && worker.word(slot::ID) == 0 => {
                    // A call that was passed on to the reader or the broker is their business, and done by the deadline.
                    match unanswered {
                        false => worker.excuse(now),
                        true if worker.stalled(now) < 2 * deadline => {}
                        true => worker.kill("it hides a call"),
                    }
                }
                // Its reader was just ended: the worker has to get over that.
                Some(Phase::Reading) if reader_killed => worker.excuse(now),
                _ if worker.stalled(now) < deadline && !worker.is_asked() => {}
                _ if has_handlers => worker.interrupt(PAST_DEADLINE),
                _ => worker.kill(PAST_DEADLINE),
            }
        }
    }
}

/// Tells of the end of a worker in the log.
fn tell_crash(worker: &WorkerProcess, call: &str, in_flight: bool, signal: i32) {
    let forbidden = worker.forbidden_call(signal);
    let forbidden = forbidden.as_deref();
    let died_of = (signal != 0).then_some(signal);
    let status = (signal == 0).then(|| worker.end_status());
    let tid = worker.word(slot::PID) as u32;
    warn!(
        event = "worker_crash",
        worker = worker.pid,
        tid,
        call,
        signal = died_of,
        status,
        reason = worker.killed,
        forbidden,
        "a worker ended{}: {}",
        if in_flight { format!(" in the call {call}") } else { String::new() },
        match (worker.killed, status) {
            (Some(reason), _) => format!("{reason}, and was ended"),
            (None, Some(status)) => format!("it exited with status {status}"),
            (None, None) => end_of(signal, forbidden),
        },
    );
}

/// The end of a worker by a signal that the broker did not send, in words.
fn end_of(signal: i32, forbidden: Option<&str>) -> String {
    let signal = Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |one| one.to_string());
    match forbidden {
        None => format!("it died of {signal}"),
        Some(call) => format!("it died of {signal}: the jail forbids {call}"),
    }
}
