//! A process driven from one stop at a system call to the next (`ptrace(2)`), to be killed at the one that a test
//! chooses: before a call takes effect, or after it did and before the process knows.
//!
//! Stops are counted from the moment at which the process rests: it waits in a call for something to do. All calls
//! come from one thread, as the kernel demands of a tracer. If that thread ends, so does the process.

use crate::process::Process;
use crate::wait::until;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fmt;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a process that runs is looked at: short against a system call that is stopped twice.
const PAUSE: Duration = Duration::from_micros(20);
/// Ends what hangs.
const WITHIN: Duration = Duration::from_secs(30);

/// Where a process was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Number of the call in the machine's own table.
    pub call: i64,
    /// Whether it was entering the call; else it was leaving it.
    pub entering: bool,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.entering { "before" } else { "after" };
        write!(f, "{side} call {}", self.call)
    }
}

/// How far a process was driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driven {
    /// To the stop, at which it was killed.
    Killed(Stop),
    /// What it was driven for was done before.
    Done,
    /// It ended by itself before.
    Ended,
}

/// See the module.
#[derive(Debug)]
pub struct Steps {
    pid: Pid,
}

impl Steps {
    /// Takes hold of `process` and lets it run on until it rests.
    ///
    /// # Errors
    /// When it is gone, is traced already, or does not come to rest.
    pub fn attach(process: Process) -> Result<Self> {
        let pid = Pid::from_raw(process.0);
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
        ptrace::seize(pid, options).with_context(|| format!("PTRACE_SEIZE of {process:?}"))?;
        ptrace::interrupt(pid).context("PTRACE_INTERRUPT")?;
        let steps = Steps { pid };
        steps.rest(process)?;
        Ok(steps)
    }

    /// Interrupted in its wait, it enters the wait again.
    fn rest(&self, process: Process) -> Result<()> {
        let mut entered = false;
        until("a process to rest", WITHIN, || match self.look() {
            Ok(WaitStatus::PtraceSyscall(_)) => {
                entered = self.stop().is_ok_and(|stop| stop.entering);
                self.go_on(None).err().map(Err)
            }
            Ok(WaitStatus::StillAlive) if entered && is_asleep(process) => Some(Ok(())),
            Ok(WaitStatus::StillAlive) => None,
            Ok(status) => self.pass(status).err().map(Err),
            Err(errno) => Some(Err(errno.into())),
        })?
    }

    /// Drives it to its stop number `number`, from 1 on, and kills it there, unless `is_done` says first that there
    /// is nothing more for it to do; it runs on freely then.
    ///
    /// # Errors
    /// When none of that comes in time, or a call fails.
    pub fn kill_at(self, number: usize, mut is_done: impl FnMut() -> Result<bool>) -> Result<Driven> {
        let end = Instant::now() + WITHIN;
        let mut stops = 0;
        loop {
            match self.look()? {
                WaitStatus::PtraceSyscall(_) => {
                    stops += 1;
                    if stops == number {
                        let stop = self.stop()?;
                        self.kill()?;
                        return Ok(Driven::Killed(stop));
                    }
                    self.go_on(None)?;
                }
                WaitStatus::StillAlive if is_done()? => return self.release(),
                WaitStatus::StillAlive => {
                    ensure!(Instant::now() < end, "stop {number} does not come, after {stops}");
                    sleep(PAUSE);
                }
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(Driven::Ended),
                status => self.pass(status)?,
            }
        }
    }

    /// Lets it run on freely.
    fn release(self) -> Result<Driven> {
        ptrace::interrupt(self.pid).context("PTRACE_INTERRUPT")?;
        match self.wait()? {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(Driven::Ended),
            WaitStatus::Stopped(_, signal) => ptrace::detach(self.pid, signal)?,
            _ => ptrace::detach(self.pid, None)?,
        }
        Ok(Driven::Done)
    }

    /// A traced process is its tracer's to reap first.
    fn kill(&self) -> Result<()> {
        kill(self.pid, Signal::SIGKILL).context("SIGKILL")?;
        loop {
            match self.wait() {
                Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => return Ok(()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => bail!("waitpid: {errno}"),
            }
        }
    }

    /// At a stop that is not at a call: goes on, with the signal that it is about.
    fn pass(&self, status: WaitStatus) -> Result<()> {
        match status {
            WaitStatus::Stopped(_, signal) => self.go_on(Some(signal)),
            WaitStatus::PtraceEvent(..) => self.go_on(None),
            other => bail!("the traced process: {other:?}"),
        }
    }

    fn go_on(&self, signal: Option<Signal>) -> Result<()> {
        match ptrace::syscall(self.pid, signal) {
            // Killed by another one meanwhile: its end is the next that is heard of it.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => bail!("PTRACE_SYSCALL: {errno}"),
        }
    }

    fn look(&self) -> nix::Result<WaitStatus> {
        waitpid(self.pid, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL))
    }

    fn wait(&self) -> nix::Result<WaitStatus> {
        waitpid(self.pid, Some(WaitPidFlag::__WALL))
    }

    fn stop(&self) -> Result<Stop> {
        let info = ptrace::syscall_info(self.pid).context("PTRACE_GET_SYSCALL_INFO")?;
        let text = fs::read_to_string(format!("/proc/{}/syscall", self.pid)).unwrap_or_default();
        let call = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(-1);
        Ok(Stop { call, entering: info.op == libc::PTRACE_SYSCALL_INFO_ENTRY })
    }
}

fn is_asleep(process: Process) -> bool {
    process
        .status()
        .and_then(|status| status.get("State").map(|state| state.starts_with('S')))
        .unwrap_or(false)
}
