//! A minimal device: it adds numbers.
//!
//!     cargo build --release --example adder
//!     kcov-broker run --worker target/release/examples/adder -- COMMAND
//!
//! COMMAND sees `/dev/adder`. `ioctl` request 0x7001 adds its argument to the sum of the open file, 0x7002
//! stores the sum at the address in its argument. The coverage of the code below is in the KCOV area of the
//! calling thread.

use kcov_worker::handler::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};
use kcov_worker::{Errno, kcov_cmp, kcov_edge};
use std::process::ExitCode;

const ADD: u32 = 0x7001;
const SUM: u32 = 0x7002;

/// Largest sum; requests that would exceed it are refused.
const MAX_SUM: u64 = 1 << 32;

struct Adder;

impl Handler for Adder {
    fn name(&self) -> &str {
        "adder"
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::device("/dev/adder", ADD..=SUM)]
    }

    fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
        kcov_edge!();
        Ok(Box::new(Sum(0)))
    }
}

/// An open file. It is dropped when the last descriptor is closed.
struct Sum(u64);

impl OpenFile for Sum {
    fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer {
        match request {
            ADD => self.add(arg).into(),
            SUM => {
                kcov_edge!();
                caller.write(arg, &self.0.to_ne_bytes()).into()
            }
            _ => Answer::Fail(Errno::ENOTTY),
        }
    }
}

impl Sum {
    fn add(&mut self, more: u64) -> Result<(), Errno> {
        kcov_edge!();
        kcov_cmp!(8, true, MAX_SUM, more);
        let sum = self.0.checked_add(more).filter(|&sum| sum <= MAX_SUM).ok_or(Errno::ERANGE)?;
        kcov_edge!();
        self.0 = sum;
        Ok(())
    }
}

fn main() -> ExitCode {
    kcov_worker::main([Box::new(Adder)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_worker::harness::Harness;

    #[test]
    fn it_adds_numbers_and_records_coverage() {
        let mut tenant = Harness::new(Adder).expect("claims");
        let opened = tenant.open_recorded("/dev/adder", 0);
        assert_eq!(opened.pcs.len(), 1);
        let file = opened.answer.expect("open");
        let good = tenant.ioctl(file, ADD, 42);
        let refused = tenant.ioctl(file, ADD, MAX_SUM);
        assert_eq!((&good.answer, &refused.answer), (&Answer::Value(0), &Answer::Fail(Errno::ERANGE)));
        assert_eq!((good.pcs.len(), refused.pcs.len()), (2, 1));
        let sum = tenant.map(8);
        assert_eq!(tenant.ioctl(file, SUM, sum).answer, Answer::Value(0));
        assert_eq!(tenant.memory(sum, 8), 42_u64.to_ne_bytes());
        assert_eq!(tenant.ioctl(file, SUM, 1).answer, Answer::Fail(Errno::EFAULT));
    }
}
