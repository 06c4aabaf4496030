//! Requests of workers, and calls that readers pass on: from a message to an answer.
//!
//! Every request is an allegation. It is checked against the table of [`permit`](super::workers::permit), the identity of
//! a descriptor is read from the caller's own table, and the notification is found valid after that read, before anything
//! takes effect.

use super::Tenant;
use super::kcov_requests::{Mapping, Request};
use super::log::TenantLog;
use super::workers::process::{Fault, Received};
use crate::kcov::arena::Arena;
use crate::sys::listener::Answer;
use kcov_proto::Errno;
use kcov_proto::device::ArenaId;
use kcov_proto::message::{Assist, AssistKind, AssistReply, Heartbeat, NotificationId, Verdict};
use std::os::fd::{AsFd, OwnedFd};
use tracing::info;

/// What a request leads to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing more: the call was answered, or will be.
    Done,
    /// The call has this answer.
    Answer(Answer),
    /// The worker is to map this arena again, which it says it has not.
    Map(ArenaId),
    /// The worker is to set the count of this arena to 0, and the call returns 0.
    Reset(ArenaId),
    /// The descriptor is this file of a handler's device, if any.
    File(Option<(ArenaId, u16)>),
    /// The socket to the worker's next reader, if there is one.
    Reader(Option<OwnedFd>),
}

impl From<Result<(), Errno>> for Outcome {
    fn from(result: Result<(), Errno>) -> Self {
        Outcome::Answer(match result {
            Ok(()) => Answer::Value(0),
            Err(errno) => Answer::Fail(errno),
        })
    }
}

impl From<Errno> for Outcome {
    fn from(errno: Errno) -> Self {
        Outcome::Answer(Answer::Fail(errno))
    }
}

fn verdict(answer: Answer) -> Verdict {
    match answer {
        Answer::Value(value) => Verdict::Value(value),
        Answer::Fail(errno) => Verdict::Fail(errno),
        Answer::Continue => Verdict::Continue,
    }
}

impl Tenant {
    /// Handles one request of a worker. Returns whether there was one.
    pub fn worker_readable(&mut self, index: u32) -> bool {
        let has_handlers = !self.claims.is_empty();
        let Some(worker) = self.workers.get_mut(index) else { return false };
        // Only handlers send descriptors.
        let (assist, descriptors) = match worker.receive(has_handlers) {
            Received::Request(assist, descriptors) => (assist, descriptors),
            Received::Nothing => return false,
            Received::Closed => {
                self.poller.remove(worker.channel());
                return false;
            }
        };
        if let Err(fault) = self.handle(index, assist, &descriptors)
            && let Some(worker) = self.workers.get_mut(index)
        {
            worker.kill_for(fault);
        }
        true
    }

    fn handle(&mut self, index: u32, assist: Assist, descriptors: &[OwnedFd]) -> Result<(), Fault> {
        // The others answer an order, which may be older than the latest call.
        if !matches!(assist.what, AssistKind::Ready { .. } | AssistKind::Opened { .. }) {
            self.calls.note(assist.id);
        }
        let worker = self.workers.get_mut(index).ok_or(Fault("a request of an unknown worker"))?;
        worker.admit(&assist, self.calls.latest())?;
        self.counters.assists += 1;
        let heartbeat = worker.heartbeat();
        let Assist { id, tid, what } = assist;
        let wants_reply = what.wants_reply();
        let outcome = match what {
            AssistKind::Ready { heartbeat } => {
                worker.serves(heartbeat);
                self.workers.restarts.served();
                self.send_orders();
                Outcome::Answer(Answer::Continue)
            }
            AssistKind::Ioctl { fd, request, arg, remote } => {
                self.ioctl(id, tid, fd, Request { request, arg, remote, heartbeat })
            }
            AssistKind::Mmap { fd, address, length, offset, prot, flags } => {
                self.mmap(id, tid, fd, &Mapping { address, length, offset, prot, flags })
            }
            AssistKind::Exec => self.exec(id, tid),
            AssistKind::Settle => {
                self.registry.settle_caller(tid);
                Outcome::Answer(Answer::Continue)
            }
            AssistKind::Arena(arena) => Outcome::Map(arena),
            AssistKind::Reader => Outcome::Reader(self.next_reader(index)),
            AssistKind::Open { .. } => return Err(Fault("an open that no reader has seen")),
            AssistKind::Opened { result } => self.opened(index, id, tid, result),
            AssistKind::File { fd } => Outcome::File(self.file(id, tid, fd)),
            AssistKind::Inject { close_on_exec } => self.inject(id, descriptors.first(), close_on_exec),
            AssistKind::Reason { handler, reason } => {
                TenantLog::reason(&handler, &reason);
                Outcome::Done
            }
            AssistKind::Silence { handler } => {
                self.note_silent(handler);
                Outcome::Done
            }
            AssistKind::Collision { ids, pc } => {
                self.log.collision(ids, pc);
                Outcome::Done
            }
        };
        self.settle();
        match (wants_reply, outcome) {
            (true, outcome) => self.reply(index, id, outcome),
            (false, Outcome::Answer(answer)) => drop(self.calls.answer(id, answer)),
            (false, _) => {}
        }
        Ok(())
    }

    /// Handles a call that a reader passes on, whose arguments it has read from the caller's memory.
    pub(super) fn passed_on(&mut self, Assist { id, tid, what }: Assist) {
        let outcome = match what {
            AssistKind::Open { flags, device: Some(device), .. } => self.open_device(id, tid, device, flags),
            AssistKind::Open { flags, reopened, device: None } => {
                self.open(id, tid, flags.cast_signed(), reopened)
            }
            AssistKind::Ioctl { fd, request, arg, remote } => {
                self.ioctl(id, tid, fd, Request { request, arg, remote, heartbeat: Heartbeat::default() })
            }
            AssistKind::Mmap { fd, address, length, offset, prot, flags } => {
                self.mmap(id, tid, fd, &Mapping { address, length, offset, prot, flags })
            }
            // Readers pass on nothing else.
            _ => Errno::EIO.into(),
        };
        if let Outcome::Answer(answer) = outcome {
            self.calls.answer(id, answer);
        }
    }

    /// Replies to a worker that waits for it.
    fn reply(&mut self, index: u32, id: NotificationId, outcome: Outcome) {
        let Some(worker) = self.workers.get_mut(index) else { return };
        let (mut answer, mut map, mut file, mut reset, mut socket) =
            (Answer::Continue, None, None, None, None);
        match outcome {
            Outcome::Done => return,
            Outcome::Answer(given) => answer = given,
            Outcome::Map(arena) => map = Some(arena),
            Outcome::Reset(arena) => {
                (answer, reset) = (Answer::Value(0), Some(arena));
                map = Some(arena).filter(|arena| !worker.has(*arena));
            }
            Outcome::File(found) => file = found,
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
        let reply = AssistReply { id, verdict: verdict(answer), arena, file, reset, drops };
        worker.reply(&reply, beside, answer);
    }
}
