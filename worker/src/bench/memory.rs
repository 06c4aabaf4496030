//! The handler that `kcov-broker bench` measures: it only reads or writes memory of its caller.

use crate::call::Call;
use crate::caller::{Caller, MAX_TRANSFER};
use crate::handler::{Answer, Claim, Handler};
use kcov_proto::Errno;

/// Handles `getppid`. The argument registers, which the call does not use, say what to do: address, length in
/// bytes, and 1 to write or 0 to read.
#[derive(Debug, Default)]
pub struct MemoryMover {
    buffer: Vec<u8>,
}

impl Handler for MemoryMover {
    fn name(&self) -> &str {
        "bench"
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::call("getppid")]
    }

    fn call(&mut self, call: &Call, caller: &mut Caller<'_>) -> Answer {
        let [address, length, write, ..] = call.args;
        let Some(length) = usize::try_from(length).ok().filter(|&length| length <= MAX_TRANSFER) else {
            return Answer::Fail(Errno::EINVAL);
        };
        self.buffer.resize(length, 0);
        let moved = match write {
            0 => caller.read(address, &mut self.buffer),
            _ => caller.write(address, &self.buffer),
        };
        moved.map_or_else(Answer::Fail, |()| Answer::Value(0))
    }
}
