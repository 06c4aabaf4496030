//! The handler that `kcov-broker bench` measures: it moves memory of its caller, and nothing else.

use crate::call::Call;
use crate::caller::{Caller, MOST};
use crate::handler::{Answer, Claim, Handler};
use kcov_proto::Errno;

/// `getppid`, with what it is to move in the argument registers that the call does not have: the address, the bytes, and
/// 1 if they are written.
#[derive(Debug, Default)]
pub struct MovesMemory {
    buffer: Vec<u8>,
}

impl Handler for MovesMemory {
    fn name(&self) -> &str {
        "bench"
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::call("getppid")]
    }

    fn call(&mut self, call: &Call, caller: &mut Caller<'_>) -> Answer {
        let [address, length, write, ..] = call.args;
        let Some(length) = usize::try_from(length).ok().filter(|&length| length <= MOST) else {
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
