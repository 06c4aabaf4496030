//! What serves calls inside of a worker: the one interface between the dispatch and the code behind it.
//!
//! | service | its calls |
//! |---|---|
//! | [`Handlers`](crate::handlers::Handlers) | what the user's handlers claim |
//! | [`Device`](crate::device::Device) | what may concern the KCOV device |
//! | [`Trace`] | all others |

use crate::assist::AssistError;
use crate::call::Call;
use crate::context::Context;
use crate::trace::Tracer;
use kcov_proto::Errno;
use kcov_proto::device::ArenaId;
use kcov_proto::slot::Kind;
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
    /// It is not this service's after all: the next one that claims it has it.
    Pass,
}

/// Code that serves some calls.
///
/// The services of a worker are asked in their order; the first that claims a call and does not pass serves it. While
/// it does, the recording API appends to the caller's area, if the caller collects coverage.
pub trait Service {
    /// Whether this service wants the call. Must not block.
    fn claims(&self, call: &Call) -> bool;

    /// What such a call counts as.
    fn kind(&self, call: &Call) -> Kind;

    /// Whether the caller's area is armed while this service has the call.
    fn is_recorded(&self, _: &Call) -> bool {
        true
    }

    /// Serves a call that it claimed.
    ///
    /// # Errors
    /// Only if the worker cannot go on, as its broker is gone.
    fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError>;

    /// Opens a handler's device for a caller, as the broker orders; `None` from a service that has no devices.
    ///
    /// # Errors
    /// As [`handle`](Self::handle); the inner error is the caller's.
    fn open(&mut self, _: &Opening, _: &mut Context) -> Result<Option<Result<(), Errno>>, AssistError> {
        Ok(None)
    }

    /// Nobody has these files of handlers' devices any more.
    fn closed(&mut self, _: &[ArenaId], _: &mut Context) {}
}

/// An open of a handler's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The call, as far as it matters: its notification and its caller.
    pub call: Call,
    /// Number of the device in [`Claims::devices`](kcov_proto::claims::Claims::devices).
    pub device: u16,
    /// Open flags of the caller.
    pub flags: u32,
    /// Identity of the new file.
    pub file: ArenaId,
}

/// The service of all that no other claims: leaves the call's edge, or its comparisons, and lets the kernel run it.
#[derive(Debug)]
pub struct Trace(pub Rc<Tracer>);

impl Service for Trace {
    fn claims(&self, _: &Call) -> bool {
        true
    }

    fn kind(&self, _: &Call) -> Kind {
        Kind::Trace
    }

    fn handle(&mut self, call: &Call, _: &mut Context) -> Result<Outcome, AssistError> {
        self.0.record(call);
        Ok(Outcome::Continue)
    }
}
