//! Standard output and error of a worker: messages of panics and sanitizers, and the handlers' own output.

use crate::artifact::OUTPUT;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tracing::debug;

/// Most bytes read at a time, so that other events get their turn.
const AT_ONCE: usize = 64 * 1024;

/// The broker's end of the pipe, and the last bytes that came through it.
#[derive(Debug)]
pub struct WorkerOutput {
    pipe: OwnedFd,
    last: Vec<u8>,
}

impl AsFd for WorkerOutput {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl WorkerOutput {
    /// Makes a pipe. Also returns the worker's end.
    ///
    /// # Errors
    /// As `pipe2(2)`.
    pub fn new() -> Result<(Self, OwnedFd), Errno> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok((WorkerOutput { pipe: ours, last: Vec::new() }, theirs))
    }

    /// Reads what is there. Returns whether more may come.
    pub fn take(&mut self) -> bool {
        let mut bytes = vec![0; AT_ONCE];
        match read(&self.pipe, &mut bytes) {
            Ok(0) => false,
            Ok(length) => {
                let came = &bytes[..length];
                debug!(event = "output", text = %String::from_utf8_lossy(came), "worker output");
                self.last.extend(came);
                let over = self.last.len().saturating_sub(OUTPUT);
                self.last.drain(..over);
                true
            }
            Err(Errno::EAGAIN | Errno::EINTR) => true,
            Err(_) => false,
        }
    }

    /// Takes the last bytes that came, at most [`OUTPUT`]. To be called once the worker is dead.
    pub fn rest(&mut self) -> Vec<u8> {
        // The worker is dead, so the pipe has an end.
        let before = self.last.len();
        let _ = self.take();
        if self.last.len() != before {
            let _ = self.take();
        }
        std::mem::take(&mut self.last)
    }
}
