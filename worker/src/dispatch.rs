//! Passes a notification to the service that claims it, with recording into the caller's area enabled.

use crate::assist::AssistError;
use crate::call::Call;
use crate::context::Context;
use crate::outcome::Outcome;
use crate::record::Scope;
use crate::remote::Section;
use crate::service::{DeviceOpen, Service};
use crate::trace::{self, Tracer};
use kcov_proto::Errno;
use kcov_proto::device::ArenaId;
use kcov_proto::message::{ClosedFile, RequestKind};
use kcov_proto::slot::Kind;
use kcov_proto::unique::Trace;
use std::rc::Rc;

/// The services of a worker, in the order in which they are asked.
pub struct Dispatch {
    services: Vec<Box<dyn Service>>,
    tracer: Rc<Tracer>,
}

impl Dispatch {
    /// Dispatches to these services. `tracer` knows which numbers are system calls.
    #[must_use]
    pub fn new(services: Vec<Box<dyn Service>>, tracer: Rc<Tracer>) -> Self {
        Dispatch { services, tracer }
    }

    /// Handles one call. When this returns, all its records are in the caller's area.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        self.release_closed(call, context)?;
        if !self.is_recorded(call) {
            return self.serve(call, context);
        }
        self.with_area(call, context, |dispatch, context, scope| {
            let outcome = dispatch.serve(call, context);
            // If the handler recorded nothing, leave the heartbeat record that clients expect after a reset.
            // But not for a number that is not a system call, and not if the broker may already have let the
            // caller continue.
            let answered = matches!(outcome, Ok(Outcome::Answered));
            let is_empty = scope.is_some_and(Scope::is_empty);
            if is_empty && !answered && dispatch.tracer.name(call).is_some() {
                trace::heartbeat();
            }
            outcome
        })
    }

    /// Opens a handler's device, as the broker ordered, and reports the result.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn open(&mut self, opening: &DeviceOpen, context: &mut Context) -> Result<(), AssistError> {
        let call = &opening.call;
        self.release_closed(call, context)?;
        context.count_kind(Kind::HandlerOpen);
        let result =
            self.with_area(call, context, |dispatch, context, _| dispatch.open_device(opening, context))?;
        // Reported last: it lets the caller continue, and all records must be in its area by then.
        context.leave(call, RequestKind::Opened { result }).map(drop)
    }

    fn open_device(
        &mut self,
        opening: &DeviceOpen,
        context: &mut Context,
    ) -> Result<Result<(), Errno>, AssistError> {
        for service in &mut self.services {
            if let Some(result) = service.open(opening, context)? {
                return Ok(result);
            }
        }
        Ok(Err(Errno::ENODEV))
    }

    /// Releases the files that the last close of the caller has released, before its next call. The records go
    /// straight to the caller's area.
    fn release_closed(&mut self, call: &Call, context: &mut Context) -> Result<(), AssistError> {
        let closed = context.take_closed(call)?;
        if closed.is_empty() {
            return Ok(());
        }
        self.with_area(call, context, |dispatch, context, _| {
            closed.iter().for_each(|closed| dispatch.release(closed.file, Some(call.tid), context));
            Ok(())
        })
    }

    /// Releases files whose last descriptor was closed. If a thread is known that closed one, the records go to
    /// its area. It is not in a call, so they go there at once, as those of a remote section.
    pub fn closed(&mut self, files: &[ClosedFile], context: &mut Context) {
        for ClosedFile { file, closer } in files {
            let tid = closer.map(|closer| closer.tid);
            match closer.and_then(|closer| closer.target) {
                None => self.release(*file, tid, context),
                Some(target) => {
                    let section = Section::of_call(target);
                    section.run(|| self.release(*file, tid, context));
                    section.stop();
                }
            }
        }
    }

    /// Releases a file, if one of the services has its state.
    fn release(&mut self, file: ArenaId, closer: Option<u32>, context: &mut Context) {
        let Some(service) = self.services.iter_mut().find(|service| service.has_file(file)) else { return };
        match closer {
            None => service.closed(file, context),
            Some(tid) => context.blame(tid, |context| service.closed(file, context)),
        }
    }

    /// Runs `work` with recording into the caller's area enabled, if the caller collects coverage.
    fn with_area<T>(
        &mut self,
        call: &Call,
        context: &mut Context,
        work: impl FnOnce(&mut Self, &mut Context, Option<&Scope<'_>>) -> Result<T, AssistError>,
    ) -> Result<T, AssistError> {
        let Some(armed) = context.roster_entry(call)?.armed else { return work(self, context, None) };
        let Some(words) = context.area(call, armed.arena)? else { return work(self, context, None) };
        let Some(trace) = Trace::new(&words, armed.bitmap, armed.shared) else {
            return work(self, context, None);
        };
        let (done, recorded) = Scope::enter(trace, armed.mode, |scope| work(self, context, Some(scope)));
        context.count(recorded);
        done
    }

    fn is_recorded(&self, call: &Call) -> bool {
        let service = self.services.iter().find(|service| service.claims(call));
        service.is_none_or(|service| service.is_recorded(call))
    }

    fn serve(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        for service in self.services.iter_mut().filter(|service| service.claims(call)) {
            // Count first: the service may let the caller continue, and the caller may read the counters.
            let kind = service.kind(call);
            context.count_kind(kind);
            match service.handle(call, context)? {
                Outcome::Pass => context.discount_kind(kind),
                outcome => return Ok(outcome),
            }
        }
        Ok(Outcome::Continue)
    }
}
