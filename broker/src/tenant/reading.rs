//! Readers that pass on calls, are slow, or end.

use super::Tenant;
use super::readers::reader::Waiting;
use super::readers::{Ended, Unread};
use kcov_proto::Errno;
use kcov_proto::message::{Forward, Response};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tracing::warn;

impl Tenant {
    /// Takes one call that a reader passes on. Returns whether there was one.
    pub fn reader_readable(&mut self, index: u32) -> bool {
        let Some(call) = self.readers.receive(index) else { return false };
        let Forward { id, .. } = call;
        self.calls.note(id);
        let latest = self.calls.latest();
        let worker = self.readers.worker_of(index).and_then(|worker| self.workers.get_mut(worker));
        if let Some(worker) = worker
            && let Err(fault) = worker.spend(None, id, latest)
        {
            worker.kill_for(fault);
            return true;
        }
        self.counters.assists += 1;
        self.passed_on(call);
        self.settle();
        true
    }

    /// A reader ended: the call that it was at fails, and the next reader takes over what waits.
    pub fn reader_ended(&mut self, index: u32) {
        while self.reader_readable(index) {}
        let Some(Ended { worker, busy, waiting }) = self.readers.end(index) else { return };
        if let Some(call) = busy {
            self.fail_reading(worker, call);
        }
        if let Some(waiting) = waiting {
            self.replace_reader(worker, &waiting);
        }
    }

    /// Ends readers that are past their deadline, and replaces slow ones. Returns whether one was ended.
    pub(super) fn look_at_readers(&mut self, now: Instant, patience: Duration) -> bool {
        let looked = self.readers.look(now, patience);
        self.log.readers_stuck(looked.late.len());
        for &index in &looked.late {
            // Its death is not waited for: a task in a file system that does not answer cannot be killed.
            self.reader_ended(index);
        }
        for (worker, waiting) in &looked.replaced {
            self.replace_reader(*worker, waiting);
        }
        !looked.late.is_empty()
    }

    fn replace_reader(&mut self, worker: u32, waiting: &[Waiting]) {
        let lost = match self.workers.get(worker) {
            Some(_) => self.readers.succeed(worker, waiting, &mut self.spawner, self.calls.listener()),
            None => {
                waiting.iter().map(|(request, _)| (request.id, request.what.concerns_any_file())).collect()
            }
        };
        for call in lost {
            self.fail_reading(worker, call);
        }
        if let Err(error) = self.await_reader() {
            warn!(%error, "cannot start a helper");
        }
    }

    /// A worker reports that its reader is gone. Returns the socket to the next one.
    pub(super) fn next_reader(&mut self, worker: u32) -> Option<OwnedFd> {
        self.workers.get(worker)?;
        if !self.readers.has_fresh(worker) {
            // The worker noticed the end before the broker did.
            for index in self.readers.current_of(worker) {
                self.reader_ended(index);
            }
        }
        self.readers.take_fresh(worker)
    }

    /// A reader did not finish a call of `worker`. It fails if it is ours, and the kernel runs any other; unless another
    /// worker handles it again.
    fn fail_reading(&mut self, worker: u32, (id, runs): Unread) {
        if !self.calls.reassigned.is_for_another(id, worker) {
            let response = if runs { Response::Continue } else { Response::Fail(Errno::EIO) };
            self.calls.answer(id, response);
        }
    }
}
