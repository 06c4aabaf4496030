//! The interface between [`dispatch`](crate::dispatch) and the code that handles calls.
//!
//! | service | calls |
//! |---|---|
//! | [`Handlers`](crate::handlers::Handlers) | calls and devices that the user's handlers claim |
//! | [`Device`](crate::device::Device) | calls that may concern the KCOV device |
//! | [`TraceService`] | all others |

use crate::assist::AssistError;
use crate::call::Call;
use crate::context::Context;
use crate::outcome::Outcome;
use crate::trace::Tracer;
use kcov_proto::Errno;
use kcov_proto::device::ArenaId;
use kcov_proto::slot::Kind;
use std::rc::Rc;

/// Code that serves some calls.
///
/// The services of a worker are asked in order. The first that claims a call and does not pass serves it.
/// Meanwhile the recording API appends to the caller's area, if the caller collects coverage.
pub trait Service {
    /// Returns whether this service wants the call. Must not block.
    fn claims(&self, call: &Call) -> bool;

    /// The kind as which such a call is counted.
    fn kind(&self, call: &Call) -> Kind;

    /// Returns whether recording is enabled while this service handles the call.
    fn is_recorded(&self, _: &Call) -> bool {
        true
    }

    /// Serves a call that it claimed.
    ///
    /// # Errors
    /// Only if the worker cannot continue because its broker is gone.
    fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError>;

    /// Opens a handler's device for a caller, as the broker ordered. `None` from a service without devices.
    /// The inner error is the caller's errno.
    ///
    /// # Errors
    /// As [`handle`](Self::handle).
    fn open(&mut self, _: &DeviceOpen, _: &mut Context) -> Result<Option<Result<(), Errno>>, AssistError> {
        Ok(None)
    }

    /// Drops the state of a file of a handler's device whose last descriptor was closed.
    fn closed(&mut self, _: ArenaId, _: &mut Context) {}

    /// Returns whether this service has the state of a file.
    fn has_file(&self, _: ArenaId) -> bool {
        false
    }
}

/// An open of a handler's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOpen {
    /// The call. Only its notification id and its caller are meaningful.
    pub call: Call,
    /// Number of the device in [`Claims::devices`](kcov_proto::claims::Claims::devices).
    pub device: u16,
    /// Open flags of the caller.
    pub flags: u32,
    /// Identity of the new file.
    pub file: ArenaId,
}

/// The service for all calls that no other claims: records the call, or comparisons of its arguments, and
/// lets the kernel run it.
#[derive(Debug)]
pub struct TraceService(pub Rc<Tracer>);

impl Service for TraceService {
    fn claims(&self, _: &Call) -> bool {
        true
    }

    fn kind(&self, _: &Call) -> Kind {
        Kind::Trace
    }

    fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        self.0.record(call);
        if context.has_files()
            && let Some((first, last)) = self.0.closing(call)
        {
            context.note_closing(call, first, last)?;
        }
        if context.notes_clones()
            && let Some(thread) = self.0.creation(call)
        {
            context.note_clone(call, thread)?;
        }
        Ok(Outcome::Continue)
    }
}
