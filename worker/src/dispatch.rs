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
use kcov_proto::area::Area;
use kcov_proto::message::{ClosedFile, Closer, RequestKind};
use kcov_proto::slot::Kind;
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
        self.with_area(call, context, |dispatch, context, area| {
            let outcome = dispatch.serve(call, context);
            // If the handler recorded nothing, leave the heartbeat record that clients expect after a reset.
            // But not for a number that is not a system call, and not if the broker may already have let the
            // caller continue.
            let answered = matches!(outcome, Ok(Outcome::Answered));
            let is_empty = area.is_some_and(|area| area.count() == 0);
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

    /// Releases the files that the last close of the caller has released. Its records are in the area before the
    /// caller's next call is handled.
    fn release_closed(&mut self, call: &Call, context: &mut Context) -> Result<(), AssistError> {
        let closed = context.take_closed(call)?;
        self.closed(&closed, context);
        context.forget_closing(call.tid);
        Ok(())
    }

    /// Drops the state of files whose last descriptor was closed. What the handlers record goes to the area of the
    /// thread that closed it, as a remote section: no call of that thread is in flight.
    pub fn closed(&mut self, files: &[ClosedFile], context: &mut Context) {
        for ClosedFile { file, closer } in files {
            let Some(service) = self.services.iter_mut().find(|service| service.has_file(*file)) else {
                continue;
            };
            match closer {
                None => service.closed(*file, context),
                Some(Closer { tid, target }) => context.blame(*tid, |context| match target {
                    None => service.closed(*file, context),
                    Some(target) => {
                        let section = Section::of_call(*target);
                        section.run(|| service.closed(*file, context));
                        section.stop();
                    }
                }),
            }
        }
    }

    /// Runs `work` with recording into the caller's area enabled, if the caller collects coverage.
    fn with_area<T>(
        &mut self,
        call: &Call,
        context: &mut Context,
        work: impl FnOnce(&mut Self, &mut Context, Option<&Area<'_>>) -> Result<T, AssistError>,
    ) -> Result<T, AssistError> {
        let Some(armed) = context.roster_entry(call)?.armed else { return work(self, context, None) };
        let Some(words) = context.area(call, armed.arena)? else { return work(self, context, None) };
        let Some(area) = Area::new(&words) else { return work(self, context, None) };
        let (done, recorded) = Scope::enter(area, armed.mode, |_| work(self, context, Some(&area)));
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
