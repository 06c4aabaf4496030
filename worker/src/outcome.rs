//! The result of serving a call.

use kcov_proto::Errno;
use kcov_proto::message::Response;

/// The result of serving a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The call returns this value.
    Value(i64),
    /// The call fails with this errno.
    Fail(Errno),
    /// The kernel runs the call.
    Continue,
    /// The broker answers the call, or already has.
    Answered,
    /// The service does not handle this call after all: ask the next one that claims it.
    Pass,
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Self {
        match response {
            Response::Value(value) => Outcome::Value(value),
            Response::Fail(errno) => Outcome::Fail(errno),
            Response::Continue => Outcome::Continue,
        }
    }
}
