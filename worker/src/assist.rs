//! Requests for what a worker may not do itself: the broker owns the KCOV device, the reader reads the caller.

use crate::arenas::Arenas;
use crate::call::Call;
use crate::outcome::Outcome;
use crate::sys::socket::{Channel, ChannelError};
use kcov_proto::Errno;
use kcov_proto::message::{Heartbeat, ReaderKind, ReaderReply, ReaderRequest, Reply, Request, RequestKind};
use kcov_proto::slot::{self, Phase};
use kcov_proto::sync::Ordering;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::sys::shared::SharedWords;

/// Readers that one request goes to: the second one has no request before it.
const READERS: usize = 2;

/// Why a request has no reply.
#[derive(Debug, thiserror::Error)]
pub enum AssistError {
    /// The socket to the broker failed. A worker without its broker ends.
    #[error("the broker does not answer: {0}")]
    Broker(#[source] ChannelError),
    /// The broker replied to another request.
    #[error("the broker replied out of turn")]
    OutOfTurn,
}

/// The sockets of a worker.
#[derive(Debug)]
pub struct Assistants {
    broker: Channel,
    reader: Channel,
}

impl Assistants {
    /// Uses these sockets.
    #[must_use]
    pub fn new(broker: Channel, reader: Channel) -> Self {
        Assistants { broker, reader }
    }

    /// Reports that this worker serves from now on.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn ready(&mut self, heartbeat: Heartbeat) -> Result<(), AssistError> {
        let what = RequestKind::Ready { heartbeat };
        self.broker.send(&Request { id: 0, tid: 0, what }, &[]).map_err(AssistError::Broker)?;
        // Wait until the broker watches this process: a call received earlier would be lost if this process died.
        self.broker.receive::<Reply>().map(drop).map_err(AssistError::Broker)
    }

    /// Leaves the call to the broker, which answers it.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn leave(&mut self, call: &Call, what: RequestKind) -> Result<Outcome, AssistError> {
        debug_assert!(!what.wants_reply());
        self.broker.send(&Request { id: call.id, tid: call.tid, what }, &[]).map_err(AssistError::Broker)?;
        Ok(Outcome::Answered)
    }

    /// Asks the broker, maps the arena that comes with the reply, and unmaps those that are gone.
    ///
    /// # Errors
    /// If the broker is gone or replies out of turn.
    pub fn ask(
        &mut self,
        call: &Call,
        what: RequestKind,
        arenas: &mut Arenas,
        slot: &SharedWords,
    ) -> Result<Reply, AssistError> {
        let (reply, fds) = self.exchange(call, what, slot)?;
        for id in &reply.drops {
            arenas.unmap(*id);
        }
        if let (Some((id, words)), Some(file)) = (reply.arena, fds.first()) {
            // Nothing is recorded into an arena that cannot be mapped; the call goes on.
            let _ = arenas.map(id, words, file);
        }
        Ok(reply)
    }

    fn exchange(
        &mut self,
        call: &Call,
        what: RequestKind,
        slot: &SharedWords,
    ) -> Result<(Reply, Vec<OwnedFd>), AssistError> {
        slot[slot::PHASE].store(Phase::Asking as u64, Ordering::Relaxed);
        self.broker.send(&Request { id: call.id, tid: call.tid, what }, &[]).map_err(AssistError::Broker)?;
        let (reply, fds) = self.broker.receive::<Reply>().map_err(AssistError::Broker)?;
        slot[slot::PHASE].store(Phase::Handling as u64, Ordering::Relaxed);
        if reply.id == call.id { Ok((reply, fds)) } else { Err(AssistError::OutOfTurn) }
    }

    /// Leaves a call to the reader, which passes it on to the broker or the kernel.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn leave_to_reader(
        &mut self,
        call: &Call,
        what: ReaderKind,
        slot: &SharedWords,
    ) -> Result<Outcome, AssistError> {
        let request = ReaderRequest { id: call.id, tid: call.tid, what };
        if self.reader.send(&request, &[]).is_err() {
            self.take_new_reader(call, slot)?;
            if self.reader.send(&request, &[]).is_err() {
                return Ok(Outcome::Fail(Errno::EIO));
            }
        }
        Ok(Outcome::Answered)
    }

    fn take_new_reader(&mut self, call: &Call, slot: &SharedWords) -> Result<(), AssistError> {
        let (_, mut fds) = self.exchange(call, RequestKind::Reader, slot)?;
        self.reader = fds.pop().ok_or(AssistError::OutOfTurn)?.into();
        Ok(())
    }

    /// Asks the reader, and the next one if it hangs up. Either the reader was slow over another call and this request was
    /// not begun. Or it was stuck past its deadline: then the call has its answer, and the next reader refuses.
    ///
    /// # Errors
    /// If the broker is gone.
    fn read(
        &mut self,
        call: &Call,
        what: ReaderKind,
        slot: &SharedWords,
    ) -> Result<ReaderReply, AssistError> {
        let request = ReaderRequest { id: call.id, tid: call.tid, what };
        for _ in 0..READERS {
            match self.ask_reader(&request, slot) {
                Ok(reply) => return Ok(reply),
                Err(_) => self.take_new_reader(call, slot)?,
            }
        }
        Ok(ReaderReply::Fail(Errno::EIO))
    }

    fn ask_reader(
        &mut self,
        request: &ReaderRequest,
        slot: &SharedWords,
    ) -> Result<ReaderReply, ChannelError> {
        slot[slot::PHASE].store(Phase::Reading as u64, Ordering::Relaxed);
        let answer = self.reader.send(request, &[]).and_then(|()| self.reader.receive());
        slot[slot::PHASE].store(Phase::Handling as u64, Ordering::Relaxed);
        answer.map(|(reply, _)| reply)
    }

    /// Gives the caller a descriptor of `file`. Its number is the value of the call.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn inject(
        &mut self,
        call: &Call,
        file: BorrowedFd<'_>,
        close_on_exec: bool,
    ) -> Result<Outcome, AssistError> {
        let what = RequestKind::Inject { close_on_exec };
        let request = Request { id: call.id, tid: call.tid, what };
        self.broker.send(&request, &[&file]).map_err(AssistError::Broker)?;
        Ok(Outcome::Answered)
    }

    /// Writes to the caller's memory.
    ///
    /// # Errors
    /// As [`memory`](Self::memory).
    pub fn write(
        &mut self,
        call: &Call,
        address: u64,
        bytes: &[u8],
        slot: &SharedWords,
    ) -> Result<Result<(), Errno>, AssistError> {
        let what = ReaderKind::Write { address, bytes: bytes.to_vec() };
        Ok(match self.read(call, what, slot)? {
            ReaderReply::Written => Ok(()),
            other => Err(failure(&other)),
        })
    }

    /// Bytes of the caller's memory, all or nothing.
    ///
    /// # Errors
    /// If the broker is gone. The inner error is the caller's: `EFAULT`, ...
    pub fn memory(
        &mut self,
        call: &Call,
        address: u64,
        length: u32,
        slot: &SharedWords,
    ) -> Result<Result<Vec<u8>, Errno>, AssistError> {
        Ok(match self.read(call, ReaderKind::Memory { address, length }, slot)? {
            ReaderReply::Memory(bytes) if bytes.len() == length as usize => Ok(bytes),
            other => Err(failure(&other)),
        })
    }
}

/// The caller's error in a reply of another kind than expected.
fn failure(reply: &ReaderReply) -> Errno {
    match reply {
        ReaderReply::Fail(errno) => *errno,
        _ => Errno::EIO,
    }
}
