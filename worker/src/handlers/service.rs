//! The handlers as a [`Service`] of a worker.

use super::Handlers;
use crate::assist::AssistError;
use crate::call::Call;
use crate::caller::CallerMemory;
use crate::context::Context;
use crate::handler::Answer;
use crate::outcome::Outcome;
use crate::record::{self, Collision};
use crate::remote;
use crate::service::{DeviceOpen, Service};
use crate::text;
use kcov_proto::device::ArenaId;
use kcov_proto::journal::Event;
use kcov_proto::message::RequestKind;
use kcov_proto::slot::Kind;
use kcov_proto::{Errno, abi};

/// Most reasons to continue that are logged, so that a handler that makes them up cannot flood the log.
const MAX_REASONS: usize = 256;

impl Handlers {
    /// Turns the answer of a handler into the result of the call.
    fn outcome(
        &mut self,
        call: &Call,
        (handler, answer): (usize, Answer),
        context: &mut Context,
    ) -> Result<Outcome, AssistError> {
        // EIO may mean a file that was lost with its worker; the handler did not run then.
        if !matches!(answer, Answer::Continue { .. } | Answer::Fail(Errno::EIO)) {
            self.report_silence(call, handler, context)?;
        }
        match answer {
            Answer::Value(value) => Ok(Outcome::Value(value)),
            Answer::Fail(errno) => Ok(Outcome::Fail(errno)),
            Answer::Descriptor { file, close_on_exec } => context.inject(call, &file, close_on_exec),
            Answer::Continue { reason } => {
                self.log_reason(call, handler, reason, context)?;
                Ok(Outcome::Pass)
            }
        }
    }

    /// Reports a handler that recorded nothing for the first caller that collects coverage. Instrumented code
    /// would have recorded something, if not in remote sections.
    fn report_silence(
        &mut self,
        call: &Call,
        handler: usize,
        context: &mut Context,
    ) -> Result<(), AssistError> {
        if self.checked_recording[handler] || remote::has_run() {
            return Ok(());
        }
        let Some(recorded) = record::has_recorded() else { return Ok(()) };
        self.checked_recording[handler] = true;
        if recorded {
            return Ok(());
        }
        let handler = self.claims.handlers[handler].name.clone();
        context.leave(call, RequestKind::Silence { handler }).map(drop)
    }

    /// Logs why a handler let a call continue, once for each reason.
    fn log_reason(
        &mut self,
        call: &Call,
        handler: usize,
        reason: &'static str,
        context: &mut Context,
    ) -> Result<(), AssistError> {
        if self.logged_reasons.len() >= MAX_REASONS || !self.logged_reasons.insert((handler, reason)) {
            return Ok(());
        }
        let handler = self.claims.handlers.get(handler).map(|claims| claims.name.clone()).unwrap_or_default();
        let reason = text::truncate(reason);
        context.leave(call, RequestKind::Reason { handler, reason }).map(drop)
    }
}

/// The caller's memory through the reader. Journals every access. If the broker is gone, the handler gets
/// `EIO`, and the error is kept for [`with_memory`].
struct ReaderMemory<'a> {
    context: &'a mut Context,
    error: Option<AssistError>,
}

impl ReaderMemory<'_> {
    fn keep_error<T>(&mut self, result: Result<Result<T, Errno>, AssistError>) -> Result<T, Errno> {
        result.unwrap_or_else(|error| {
            self.error = Some(error);
            Err(Errno::EIO)
        })
    }
}

impl CallerMemory for ReaderMemory<'_> {
    fn read(&mut self, call: &Call, address: u64, length: u32) -> Result<Vec<u8>, Errno> {
        let result = self.context.memory(call, address, length);
        match &result {
            Ok(Ok(bytes)) => self.context.note_read(address, bytes),
            _ => self.context.note(|| Event::NoRead { address, length: u64::from(length) }),
        }
        self.keep_error(result)
    }

    fn write(&mut self, call: &Call, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.context.set_repeatable(None);
        let result = self.context.write(call, address, bytes);
        if !matches!(result, Ok(Ok(()))) {
            self.context.note(|| Event::NoWrite { address, length: bytes.len() as u64 });
        }
        self.keep_error(result)
    }

    fn common_handle(&mut self, call: &Call) -> u64 {
        let result = self.context.common_handle(call).map(Ok);
        self.keep_error(result).unwrap_or(0)
    }
}

/// Runs handler code with access to the caller's memory. Then reports explicit ids that collided in it.
fn with_memory<T>(
    call: &Call,
    context: &mut Context,
    work: impl FnOnce(&mut dyn CallerMemory) -> T,
) -> Result<T, AssistError> {
    let mut memory = ReaderMemory { context, error: None };
    let done = work(&mut memory);
    let ReaderMemory { context, error } = memory;
    context.note_end();
    for Collision { ids, pc } in record::new_collisions() {
        context.leave(call, RequestKind::Collision { ids, pc }).map(drop)?;
    }
    error.map_or(Ok(done), Err)
}

impl Service for Handlers {
    fn claims(&self, call: &Call) -> bool {
        // Requests of the KCOV device are never passed to handlers.
        let kcov = || self.is_ioctl(call) && abi::is_kcov_request(call.args[1] as u32);
        (self.is_device_request(call) || self.claimants(call).next().is_some()) && !kcov()
    }

    fn kind(&self, _: &Call) -> Kind {
        Kind::Handler
    }

    fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        if self.is_device_request(call)
            && let Some(file) = context.ask(call, RequestKind::File { fd: call.args[0] as i32 })?.file
            && let Some(answer) = {
                let (request, arg) = (call.args[1] as u32, call.args[2]);
                context.note(|| Event::Ioctl { file: file.0, request, arg });
                with_memory(call, context, |memory| self.ioctl(file, call, memory))?
            }
        {
            return self.outcome(call, answer, context);
        }
        if self.claimants(call).next().is_none() {
            return Ok(Outcome::Pass);
        }
        context.note(|| Event::Call {
            tid: call.tid,
            abi: call.abi.number(),
            number: call.number,
            args: call.args,
        });
        context.set_repeatable(self.is_repeatable(call).then_some(call));
        let answer = with_memory(call, context, |memory| self.answer(call, memory))?;
        if !matches!(answer, Some((_, Answer::Value(_) | Answer::Fail(_)))) {
            // What follows has effects outside the handlers: a descriptor for the caller, or the call itself.
            context.set_repeatable(None);
        }
        match answer {
            Some(answer) => self.outcome(call, answer, context),
            None => Ok(Outcome::Pass),
        }
    }

    fn open(
        &mut self,
        opening: &DeviceOpen,
        context: &mut Context,
    ) -> Result<Option<Result<(), Errno>>, AssistError> {
        let DeviceOpen { call, device, flags, file } = opening;
        context.note(|| Event::Open { file: *file, device: *device, flags: *flags });
        with_memory(call, context, |memory| self.open_device(*device, *flags, *file, call, memory)).map(Some)
    }

    fn closed(&mut self, file: ArenaId, context: &mut Context) {
        context.note(|| Event::Closed { file });
        self.close(file);
        context.note_end();
    }

    fn has_file(&self, file: ArenaId) -> bool {
        self.files.contains_key(&file)
    }
}
