//! A device whose work is done later: what it covers is collected by remote sections.
//!
//!     cargo build --release --example queue
//!     kcov-broker run --worker target/release/examples/queue -- COMMAND
//!
//! COMMAND sees `/dev/queue`. `ioctl` request 0x7901 queues its argument and returns at once. Request 0x7902, of any
//! thread, processes what is queued; so does the last close of a file. The thread that queued a number gets the
//! coverage of its processing if it has a common handle, which it sets by `KCOV_REMOTE_ENABLE`.

use kcov_worker::handler::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};
use kcov_worker::{Errno, kcov_cmp, kcov_edge, remote_start};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::process::ExitCode;
use std::rc::Rc;

const SUBMIT: u32 = 0x7901;
const PROCESS: u32 = 0x7902;

/// Most numbers that wait.
const MAX_WAITING: usize = 1024;

/// A number that waits, with the common handle of the thread that queued it.
struct Job {
    number: u64,
    handle: u64,
}

/// The queue of all files.
#[derive(Clone, Default)]
struct Queue(Rc<RefCell<VecDeque<Job>>>);

impl Queue {
    fn submit(&self, job: Job) -> Result<(), Errno> {
        let mut waiting = self.0.borrow_mut();
        if waiting.len() >= MAX_WAITING {
            return Err(Errno::EAGAIN);
        }
        waiting.push_back(job);
        Ok(())
    }

    /// Processes each job in a section of its own. Returns their number.
    fn process(&self) -> i64 {
        let jobs = self.0.take();
        for Job { number, handle } in &jobs {
            let section = remote_start(*handle);
            section.run(|| process(*number));
            section.stop();
        }
        jobs.len() as i64
    }
}

/// The work: what it covers depends on the number.
fn process(number: u64) {
    kcov_edge!();
    kcov_cmp!(8, true, 0x71_7565_7565, number);
    if number == 0x71_7565_7565 {
        kcov_edge!();
    }
}

impl Handler for Queue {
    fn name(&self) -> &str {
        "queue"
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::device("/dev/queue", SUBMIT..=PROCESS)]
    }

    fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
        Ok(Box::new(File(self.clone())))
    }
}

/// An open file.
struct File(Queue);

impl OpenFile for File {
    fn ioctl(&mut self, request: u32, arg: u64, caller: &mut Caller<'_>) -> Answer {
        kcov_edge!();
        match request {
            SUBMIT => self.0.submit(Job { number: arg, handle: caller.common_handle() }).into(),
            _ => Answer::Value(self.0.process()),
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let File(queue) = self;
        queue.process();
    }
}

fn main() -> ExitCode {
    kcov_worker::main([Box::new(Queue::default())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_worker::harness::Harness;

    #[test]
    fn work_is_done_later_and_not_recorded_in_the_call() {
        let mut tenant = Harness::new(Queue::default()).expect("claims");
        tenant.collect_remotely(0x42);
        let file = tenant.open("/dev/queue", 0).expect("open");
        assert_eq!(tenant.ioctl(file, SUBMIT, 5).answer, Answer::Value(0));
        let processed = tenant.ioctl(file, PROCESS, 0);
        assert_eq!(processed.answer, Answer::Value(1));
        assert_eq!(processed.pcs.len(), 1, "that of the request only");
        assert_eq!(tenant.take_remote().pcs.len(), 1);
        assert_eq!(tenant.ioctl(file, PROCESS, 0).answer, Answer::Value(0));
    }
}
