//! What a handler is: the one interface between the dispatch and the code that plays the kernel.

use crate::assist::AssistError;
use crate::call::Call;
use crate::context::Context;
use crate::trace::Tracer;
use kcov_proto::Errno;
use std::rc::Rc;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It returns this value.
    Value(i64),
    /// It fails with this error.
    Fail(Errno),
    /// The kernel runs it.
    Continue,
    /// The broker has answered it, or will.
    Answered,
}

/// Code that plays the kernel for some calls.
///
/// The handlers of a worker are asked in their order; the first that claims a call handles it. While it does, the
/// recording API appends to the caller's area, if the caller collects coverage.
pub trait Handler {
    /// Whether this handler wants the call. Must not block.
    fn claims(&self, call: &Call) -> bool;

    /// Whether the caller's area is armed while this handler has the call.
    fn is_recorded(&self, _: &Call) -> bool {
        true
    }

    /// Handles a call that it claimed.
    ///
    /// # Errors
    /// Only if the worker cannot go on, as its broker is gone.
    fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError>;
}

/// The handler of all that no other claims: leaves the call's edge, or its comparisons, and lets the kernel run it.
#[derive(Debug)]
pub struct Trace(pub Rc<Tracer>);

impl Handler for Trace {
    fn claims(&self, _: &Call) -> bool {
        true
    }

    fn handle(&mut self, call: &Call, _: &mut Context) -> Result<Outcome, AssistError> {
        self.0.record(call);
        Ok(Outcome::Continue)
    }
}
