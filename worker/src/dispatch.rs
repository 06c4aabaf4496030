//! From a notification to the handler that claims it, with the caller's area armed meanwhile.

use crate::assist::AssistError;
use crate::call::Call;
use crate::context::Context;
use crate::handler::{Handler, Outcome};
use crate::record::Scope;
use crate::trace::{self, Tracer};
use kcov_proto::area::Area;
use std::rc::Rc;

/// The handlers of a worker, in the order in which they are asked.
pub struct Dispatch {
    handlers: Vec<Box<dyn Handler>>,
    tracer: Rc<Tracer>,
}

impl Dispatch {
    /// Over these handlers; `tracer` tells which numbers are calls at all.
    #[must_use]
    pub fn new(handlers: Vec<Box<dyn Handler>>, tracer: Rc<Tracer>) -> Self {
        Dispatch { handlers, tracer }
    }

    /// Handles one call. All its records are in the caller's area when this returns.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        let line = context.line(call)?;
        let Some(armed) = line.armed.filter(|_| self.is_recorded(call)) else {
            return self.claimed(call, context);
        };
        let Some(words) = context.area(call, armed.arena)? else { return self.claimed(call, context) };
        let Some(area) = Area::new(&words) else { return self.claimed(call, context) };
        let (outcome, recorded) = Scope::enter(area, armed.mode, |_| {
            let outcome = self.claimed(call, context);
            // A handler without coverage of its own still leaves the heartbeat that clients look for after a reset;
            // but not for a number that is no call, nor once the broker may have let the caller go on.
            let answered = matches!(outcome, Ok(Outcome::Answered));
            if !answered && area.count() == 0 && self.tracer.name(call).is_some() {
                trace::heartbeat();
            }
            outcome
        });
        context.count(recorded);
        outcome
    }

    fn is_recorded(&self, call: &Call) -> bool {
        let handler = self.handlers.iter().find(|handler| handler.claims(call));
        handler.is_none_or(|handler| handler.is_recorded(call))
    }

    fn claimed(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        match self.handlers.iter_mut().find(|handler| handler.claims(call)) {
            Some(handler) => handler.handle(call, context),
            None => Ok(Outcome::Continue),
        }
    }
}
