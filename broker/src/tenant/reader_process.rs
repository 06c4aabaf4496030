//! A reader as the broker sees it: whom it reads for, what it is at, and what waits for it.

use crate::broker::poller::Token;
use crate::processes::reader::{BUSY, SERVED};
use crate::processes::spawner::message::Start;
use crate::sys::listener::Answer;
use crate::sys::pidfd;
use crate::sys::shared::SharedWords;
use crate::sys::socket;
use crate::sys::socket::Channel;
use crate::tenant::Tenant;
use crate::tenant::{TenantError, system};
use kcov_proto::Errno;
use kcov_proto::message::{MAX_BYTES, NotificationId, ReaderRequest, decode};
use kcov_proto::slot;
use kcov_proto::sync::Ordering;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};
use tracing::{error, warn};

/// Most slow readers of a tenant that others stand in for.
const MOST_RELIEVED: usize = 16;

/// One reader.
#[derive(Debug)]
pub struct ReaderProcess {
    pidfd: OwnedFd,
    /// Opens of the device come here.
    pub channel: Channel,
    /// Its own end of the socket from the worker: what it did not come to is taken from there.
    requests: OwnedFd,
    busy: SharedWords,
    /// The worker that it reads for.
    worker: u32,
    /// What it was at when it was last looked at: the notification, and how many it had served.
    seen: (u64, u64),
    /// Since when.
    since: Instant,
    /// It is slow over one call, and another reader has taken its place.
    relieved: bool,
}

impl ReaderProcess {
    /// The notification that it is at, 0 for none.
    #[must_use]
    pub fn busy(&self) -> u64 {
        self.busy[BUSY].load(Ordering::Acquire)
    }

    /// The worker that it reads for.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// Whether requests lie in its socket.
    fn has_waiting(&self) -> bool {
        let mut fds = [PollFd::new(self.requests.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// Whether it is at one request while others wait. One that has begun none is only waiting for the processor, as any
    /// other would.
    fn holds_up_others(&self) -> bool {
        self.busy() != 0 && self.has_waiting()
    }

    /// How long it has been at the same notification, or left others lying.
    pub fn stalled(&mut self, now: Instant) -> Duration {
        let (id, served) = (self.busy(), self.busy[SERVED].load(Ordering::Relaxed));
        let idle = id == 0 && !self.has_waiting();
        if idle || (id, served) != self.seen {
            self.seen = (id, served);
            self.since = now;
        }
        now.saturating_duration_since(self.since)
    }

    /// Ends it; its death is handled when the pidfd says so.
    pub fn kill(&self) {
        // ESRCH: it was quicker.
        let _ = pidfd::send_signal(self.pidfd.as_fd(), Signal::SIGKILL);
    }

    /// Calls that wait for it, each as it was sent; nothing can follow them.
    fn take_waiting(&self) -> Vec<(ReaderRequest, Vec<u8>)> {
        // From here on the worker's sends fail, and it asks for another reader.
        let _ = shutdown(self.requests.as_raw_fd(), Shutdown::Both);
        let mut waiting = Vec::new();
        let mut buffer = vec![0; MAX_BYTES];
        while let Ok(length @ 1..) = recv(self.requests.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            let bytes = &buffer[..length];
            // Of the others the worker waits for a reply, and gives up when its end of the socket says so.
            if let Ok(request) = decode::<ReaderRequest>(bytes)
                && !request.what.wants_reply()
            {
                waiting.push((request, bytes.to_vec()));
            }
        }
        waiting
    }
}

impl Drop for ReaderProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Tenant {
    /// Starts a reader for worker `worker`, which takes its requests from `requests`.
    pub(crate) fn start_reader(&mut self, worker: u32, requests: OwnedFd) -> Result<(), TenantError> {
        let (ours, theirs) = socket::pair()?;
        let busy = SharedWords::new(c"kcov-busy", slot::WORDS).map_err(system("making a slot"))?;
        let (placeholders, devices) = (self.placeholders.clone(), self.devices.clone());
        let order = Start::Reader { tender: self.tender.pid, placeholders, devices };
        let descriptors: [&dyn AsFd; 5] =
            [&requests, &theirs, &self.listener, &busy.file(), &self.allowance.file()];
        let spawned = self.spawner.start(&order, &descriptors)?;
        let index = self.next_reader;
        self.next_reader = self.next_reader.wrapping_add(1);
        let channel = Channel::from(ours);
        self.poller.add(&channel, Token::Reader(index)).map_err(system("watching a reader"))?;
        self.poller.add_once(&spawned.pidfd, Token::ReaderEnd(index)).map_err(system("watching a reader"))?;
        let pidfd = spawned.pidfd;
        let reader = ReaderProcess {
            pidfd,
            channel,
            requests,
            busy,
            worker,
            seen: (0, 0),
            since: Instant::now(),
            relieved: false,
        };
        self.readers.insert(index, reader);
        Ok(())
    }

    /// The worker says that its reader is gone: the socket to the next one.
    pub(crate) fn next_reader_of(&mut self, worker: u32) -> Option<OwnedFd> {
        let current = self.readers.iter().filter(|(_, reader)| reader.worker == worker && !reader.relieved);
        let current: Vec<u32> = current.map(|(&index, _)| index).collect();
        if self.workers.get(&worker)?.fresh_reader.is_none() {
            // It saw the end before we did.
            for index in current {
                self.reader_ended(index);
            }
        }
        self.workers.get_mut(&worker)?.fresh_reader.take()
    }

    /// A reader ended: whom it was reading for gets `EIO`, and a new one takes over what waits.
    pub(crate) fn reader_ended(&mut self, index: u32) {
        while self.reader_speaks(index) {}
        let Some(reader) = self.readers.remove(&index) else { return };
        self.poller.remove(&reader.channel);
        let waiting = if reader.relieved { Vec::new() } else { reader.take_waiting() };
        let busy = reader.busy();
        // What is still in the socket has not been begun.
        if busy != 0 && !waiting.iter().any(|(request, _)| request.id == busy) {
            self.fail_reading(reader.worker, busy);
        }
        if !reader.relieved {
            self.succeed(reader.worker, waiting);
        }
    }

    /// Readers that are slow over one call while others wait keep that; what waits is taken over by others. Those past the
    /// deadline are ended. Says whether one was.
    pub(crate) fn look_at_readers(&mut self, now: Instant, deadline: Duration, patience: Duration) -> bool {
        let mut late = Vec::new();
        let mut slow = Vec::new();
        for (&index, reader) in &mut self.readers {
            let stalled = reader.stalled(now);
            if stalled >= deadline {
                warn!(event = "reader_stuck", "a reader is past its deadline");
                late.push(index);
            } else if stalled >= patience && reader.holds_up_others() && !reader.relieved {
                slow.push(index);
            }
        }
        for &index in &late {
            // Its end is not waited for: in a file system that does not answer, a task cannot be killed.
            self.reader_ended(index);
        }
        // Each costs a process: a tenant that blocks them all waits for itself.
        let relieved = self.readers.values().filter(|reader| reader.relieved).count();
        for index in slow.into_iter().take(MOST_RELIEVED.saturating_sub(relieved)) {
            let Some(reader) = self.readers.get_mut(&index) else { continue };
            reader.relieved = true;
            let (worker, waiting) = (reader.worker, reader.take_waiting());
            self.succeed(worker, waiting);
        }
        !late.is_empty()
    }

    /// Gives `worker` a new reader, which serves `waiting` first.
    fn succeed(&mut self, number: u32, waiting: Vec<(ReaderRequest, Vec<u8>)>) {
        let next = self.workers.contains_key(&number).then(|| self.start_next_reader(number));
        let socket = next
            .and_then(|started| started.inspect_err(|error| error!(%error, "no reader for a worker")).ok());
        for (request, bytes) in waiting {
            let passed_on = socket
                .as_ref()
                .is_some_and(|socket| send(socket.as_raw_fd(), &bytes, MsgFlags::MSG_DONTWAIT).is_ok());
            if !passed_on {
                self.fail_reading(number, request.id);
            }
        }
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.fresh_reader = socket;
        }
    }

    /// Starts one more reader for a worker. Returns the worker's end of its socket.
    fn start_next_reader(&mut self, worker: u32) -> Result<OwnedFd, TenantError> {
        let (requests, workers_end) = socket::pair()?;
        self.start_reader(worker, requests)?;
        Ok(workers_end)
    }

    /// A reader did not get to the end of what `worker` asked of it: `EIO` to the caller, unless another worker handles
    /// the call once more.
    fn fail_reading(&mut self, worker: u32, id: NotificationId) {
        if !self.retries.is_for_another(id, worker) {
            self.answer_caller(id, Answer::Fail(Errno::EIO));
        }
    }
}
