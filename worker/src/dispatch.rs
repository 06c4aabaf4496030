//! From a notification to the service that claims it, with the caller's area armed meanwhile.

use crate::assist::AssistError;
use crate::call::Call;
use crate::context::Context;
use crate::record::Scope;
use crate::service::{Opening, Outcome, Service};
use crate::trace::{self, Tracer};
use kcov_proto::Errno;
use kcov_proto::area::Area;
use kcov_proto::device::ArenaId;
use kcov_proto::message::AssistKind;
use kcov_proto::slot::Kind;
use std::rc::Rc;

/// The services of a worker, in the order in which they are asked.
pub struct Dispatch {
    services: Vec<Box<dyn Service>>,
    tracer: Rc<Tracer>,
}

impl Dispatch {
    /// Over these services; `tracer` tells which numbers are calls at all.
    #[must_use]
    pub fn new(services: Vec<Box<dyn Service>>, tracer: Rc<Tracer>) -> Self {
        Dispatch { services, tracer }
    }

    /// Handles one call. All its records are in the caller's area when this returns.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        if !self.is_recorded(call) {
            return self.claimed(call, context);
        }
        self.armed(call, context, |dispatch, context, area| {
            let outcome = dispatch.claimed(call, context);
            // A handler without coverage of its own still leaves the heartbeat that clients look for after a reset;
            // but not for a number that is no call, nor once the broker may have let the caller go on.
            let answered = matches!(outcome, Ok(Outcome::Answered));
            let is_empty = area.is_some_and(|area| area.count() == 0);
            if is_empty && !answered && dispatch.tracer.name(call).is_some() {
                trace::heartbeat();
            }
            outcome
        })
    }

    /// Opens a handler's device, as the broker ordered, and says what came of it.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn open(&mut self, opening: &Opening, context: &mut Context) -> Result<(), AssistError> {
        let call = &opening.call;
        context.count_kind(Kind::HandlerOpen);
        let result = self.armed(call, context, |dispatch, context, _| dispatch.opened(opening, context))?;
        // Only now: it lets the caller go on, and its records are in the area before that.
        context.leave(call, AssistKind::Opened { result }).map(drop)
    }

    fn opened(&mut self, opening: &Opening, context: &mut Context) -> Result<Result<(), Errno>, AssistError> {
        for service in &mut self.services {
            if let Some(result) = service.open(opening, context)? {
                return Ok(result);
            }
        }
        Ok(Err(Errno::ENODEV))
    }

    /// Nobody has these files any more.
    pub fn closed(&mut self, files: &[ArenaId], context: &mut Context) {
        for service in &mut self.services {
            service.closed(files, context);
        }
    }

    /// Does `work` with the caller's area armed, if it has enabled one.
    fn armed<T>(
        &mut self,
        call: &Call,
        context: &mut Context,
        work: impl FnOnce(&mut Self, &mut Context, Option<&Area<'_>>) -> Result<T, AssistError>,
    ) -> Result<T, AssistError> {
        let Some(armed) = context.line(call)?.armed else { return work(self, context, None) };
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

    fn claimed(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        for service in self.services.iter_mut().filter(|service| service.claims(call)) {
            // First: a service may let the caller go on, who may look.
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
