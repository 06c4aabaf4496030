//! Requests of workers, and calls that readers pass on: from a message to an answer.
//!
//! Every request is an allegation. It is checked against the table of [`permit`](super::workers::permit), the identity of
//! a descriptor is read from the caller's own table, and the notification is found valid after that read, before anything
//! takes effect.

use super::Tenant;
use super::kcov_requests::Descriptor;
use super::log::TenantLog;
use super::workers::process::{Fault, Received};
use crate::kcov::arena::Arena;
use kcov_proto::Errno;
use kcov_proto::device::ArenaId;
use kcov_proto::message::{
    ClosedFile, Forward, ForwardedCall, NotificationId, RemoteReply, Reply, Request, RequestKind, Response,
};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use tracing::info;

/// What a request leads to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing more: the call was answered, or will be.
    Done,
    /// The call has this answer.
    Answer(Response),
    /// The worker is to map this arena again, which it says it has not.
    Map(ArenaId),
    /// The worker is to set the count of this arena to 0, and the call returns 0.
    Reset(ArenaId),
    /// The descriptor is this file of a handler's device, if any.
    File(Option<(ArenaId, u16)>),
    /// The worker is to release the state of these files.
    Closed(Vec<ClosedFile>),
    /// The answer to a request about remote sections.
    Remote(RemoteReply),
    /// The socket to the worker's next reader, if there is one.
    Reader(Option<OwnedFd>),
}

impl From<Result<(), Errno>> for Outcome {
    fn from(result: Result<(), Errno>) -> Self {
        Outcome::Answer(match result {
            Ok(()) => Response::Value(0),
            Err(errno) => Response::Fail(errno),
        })
    }
}

impl From<Errno> for Outcome {
    fn from(errno: Errno) -> Self {
        Outcome::Answer(Response::Fail(errno))
    }
}

impl Tenant {
    /// Handles one request of a worker. Returns whether there was one.
    pub fn worker_readable(&mut self, index: u32) -> bool {
        let has_handlers = !self.claims.is_empty();
        let Some(worker) = self.workers.get_mut(index) else { return false };
        // Only handlers send descriptors.
        let (request, descriptors) = match worker.receive(has_handlers) {
            Received::Request(request, descriptors) => (request, descriptors),
            Received::Nothing => return false,
            Received::Closed => {
                self.poller.remove(worker.channel());
                return false;
            }
        };
        if let Err(fault) = self.handle(index, request, &descriptors)
            && let Some(worker) = self.workers.get_mut(index)
        {
            worker.kill_for(fault);
        }
        true
    }

    fn handle(&mut self, index: u32, request: Request, descriptors: &[OwnedFd]) -> Result<(), Fault> {
        // The others answer an order, which may be older than the latest call.
        if !matches!(request.what, RequestKind::Ready { .. } | RequestKind::Opened { .. }) {
            self.calls.note(request.id);
        }
        let worker = self.workers.get_mut(index).ok_or(Fault("a request of an unknown worker"))?;
        worker.admit(&request, self.calls.latest())?;
        self.counters.assists += 1;
        let Request { id, tid, what } = request;
        let wants_reply = what.wants_reply();
        let outcome = match what {
            RequestKind::Ready { heartbeat } => {
                worker.serves();
                self.heartbeat = heartbeat;
                self.workers.restarts.served();
                self.send_orders();
                Outcome::Answer(Response::Continue)
            }
            RequestKind::Ioctl(ioctl) => self.ioctl(index, id, tid, ioctl),
            RequestKind::Mmap(mapping) => self.mmap(index, id, tid, mapping),
            RequestKind::Exec => self.exec(id, tid),
            RequestKind::Settle => {
                self.registry.settle_caller(tid);
                Outcome::Answer(Response::Continue)
            }
            RequestKind::Arena(arena) => Outcome::Map(arena),
            RequestKind::Reader => Outcome::Reader(self.next_reader(index)),
            RequestKind::Opened { result } => self.opened(index, id, tid, result),
            RequestKind::File { fd } => Outcome::File(self.file(id, tid, fd)),
            RequestKind::Inject { close_on_exec } => self.inject(id, descriptors.first(), close_on_exec),
            RequestKind::Reason { handler, reason } => {
                TenantLog::reason(&handler, &reason);
                Outcome::Done
            }
            RequestKind::Silence { handler } => {
                self.note_silent(handler);
                Outcome::Done
            }
            RequestKind::Collision { ids, pc } => {
                self.log.collision(ids, pc);
                Outcome::Done
            }
            RequestKind::RemoteStart { handle } => {
                Outcome::Remote(RemoteReply::Target(self.registry.start_section(handle)))
            }
            RequestKind::RemoteStop { arena, sequence } => {
                Outcome::Remote(RemoteReply::Append(self.registry.stop_section(arena, sequence)))
            }
            RequestKind::RemoteUnbuffered => {
                self.registry.section_unbuffered();
                Outcome::Done
            }
            RequestKind::Closing { first, last } => {
                let is_file = self.closing(id, tid, first, last);
                Outcome::Answer(Response::Value(is_file.into()))
            }
            RequestKind::Closed => Outcome::Closed(self.closed_by(index, tid)),
            RequestKind::CommonHandle => {
                Outcome::Remote(RemoteReply::Common(self.registry.common_handle(tid)))
            }
            RequestKind::Cloning { thread } => {
                self.registry.creating(tid, thread);
                Outcome::Done
            }
            // `permit` refuses it: it is taken where the merge is granted.
            RequestKind::RemoteDone { .. } => Outcome::Done,
        };
        self.settle();
        match (wants_reply, outcome) {
            (true, Outcome::Remote(RemoteReply::Append(true))) => {
                self.reply(index, id, Outcome::Remote(RemoteReply::Append(true)));
                self.await_merge(index);
            }
            (true, outcome) => self.reply(index, id, outcome),
            (false, Outcome::Answer(answer)) => drop(self.calls.answer(id, answer)),
            (false, _) => {}
        }
        Ok(())
    }

    /// Waits until a worker has appended the records of a section, and serves nothing else meanwhile.
    fn await_merge(&mut self, index: u32) {
        /// A worker that takes longer is stopped or has no processor time.
        const PATIENCE: Duration = Duration::from_secs(5);
        let within = self.deadline.min(PATIENCE);
        let Some(worker) = self.workers.get_mut(index) else { return };
        if let Some((stored, lost)) = worker.await_report(within) {
            self.registry.section_appended(stored, lost);
        }
    }

    /// Handles a call that a reader passes on, with what it has read of the caller.
    pub(super) fn passed_on(&mut self, Forward { id, tid, call }: Forward) {
        // Without a worker, the caller may have its answer already. The call must have no effect then.
        if !self.calls.is_in_flight(id) {
            return;
        }
        let outcome = match call {
            ForwardedCall::OpenDevice { device, flags } => self.open_device(id, tid, device, flags),
            ForwardedCall::Reopen { file, flags } => match self.device_of(file) {
                Some(device) => self.open_device(id, tid, device, flags),
                None => Outcome::Answer(Response::Continue),
            },
            ForwardedCall::Ioctl { ioctl, remote, blank } => {
                let descriptor = Descriptor { tid, fd: ioctl.fd };
                self.ioctl_seen(id, descriptor, ioctl, remote, blank)
            }
            ForwardedCall::Mmap { mapping, blank } => self.mmap_seen(id, tid, &mapping, blank),
        };
        match outcome {
            Outcome::Answer(answer) => drop(self.calls.answer(id, answer)),
            // No worker waits for a reply, so the broker sets the count itself.
            Outcome::Reset(arena) => {
                if let Some(arena) = self.registry.arenas().get(arena) {
                    arena.reset();
                }
                self.calls.answer(id, Response::Value(0));
            }
            // No call that a reader passes on leads to one of these.
            Outcome::Done | Outcome::Map(_) | Outcome::File(_) | Outcome::Reader(_) => {}
            Outcome::Remote(_) | Outcome::Closed(_) => {}
        }
    }

    /// Replies to a worker that waits for it.
    fn reply(&mut self, index: u32, id: NotificationId, outcome: Outcome) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        let (mut response, mut map, mut file, mut reset, mut socket) = (None, None, None, None, None);
        let (mut remote, mut closed) = (None, Vec::new());
        match outcome {
            Outcome::Done => {}
            Outcome::Answer(answer) => response = Some(answer),
            Outcome::Map(arena) => map = Some(arena),
            Outcome::Reset(arena) => {
                (response, reset) = (Some(Response::Value(0)), Some(arena));
                map = Some(arena).filter(|arena| !worker.has(*arena));
            }
            Outcome::File(found) => file = found,
            Outcome::Remote(answer) => remote = Some(answer),
            Outcome::Closed(files) => closed = files,
            Outcome::Reader(next) => socket = next,
        }
        let arena = map.and_then(|arena| Some((arena, self.registry.words(arena)?)));
        if let Some((arena, _)) = arena
            && worker.give(arena)
        {
            info!(event = "attach", id = arena.number(), worker = worker.pid(), "worker maps an area");
        }
        let mapped = arena.and_then(|(arena, _)| self.registry.arenas().get(arena)).map(Arena::file);
        let beside = mapped.or(socket.as_ref().map(AsFd::as_fd));
        let drops = worker.take_drops();
        worker.reply(&Reply { id, response, arena, file, reset, remote, closed, drops }, beside);
    }
}
