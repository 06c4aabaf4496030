//! Drives a process by `ptrace(2)` from one stop at a system call to the next, and kills it at the stop that
//! a test chooses: before a call takes effect, or after it took effect and before the process knows.
//!
//! Stops are counted from the moment at which the process is idle, waiting in a call for work. All calls come
//! from one thread, as the kernel demands of a tracer. If that thread ends, the traced process is killed.

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

/// Interval between looks at a running process: short compared with a system call that is stopped twice.
const PAUSE: Duration = Duration::from_micros(20);
/// Deadline of a process that hangs.
const WITHIN: Duration = Duration::from_secs(30);

/// The place where a process stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Number of the call in the machine's own table.
    pub call: i64,
    /// Whether it was entering the call, rather than leaving it.
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
    /// It was killed at this stop.
    Killed(Stop),
    /// What it was driven for was done before.
    Done,
    /// It ended by itself before.
    Ended,
}

/// A traced process.
#[derive(Debug)]
pub struct Steps {
    pid: Pid,
}

impl Steps {
    /// Attaches to `process` and lets it run until it is idle.
    ///
    /// # Errors
    /// When it is gone, is traced already, or does not become idle.
    pub fn attach(process: Process) -> Result<Self> {
        let pid = Pid::from_raw(process.0);
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
        ptrace::seize(pid, options).with_context(|| format!("PTRACE_SEIZE of {process:?}"))?;
        ptrace::interrupt(pid).context("PTRACE_INTERRUPT")?;
        let steps = Steps { pid };
        steps.wait_until_idle(process)?;
        Ok(steps)
    }

    /// Interrupted in its wait, it enters the wait again.
    fn wait_until_idle(&self, process: Process) -> Result<()> {
        let mut entered = false;
        until("a process to become idle", WITHIN, || match self.try_wait() {
            Ok(WaitStatus::PtraceSyscall(_)) => {
                entered = self.stop().is_ok_and(|stop| stop.entering);
                self.resume(None).err().map(Err)
            }
            Ok(WaitStatus::StillAlive) if entered && is_asleep(process) => Some(Ok(())),
            Ok(WaitStatus::StillAlive) => None,
            Ok(status) => self.pass_signal(status).err().map(Err),
            Err(errno) => Some(Err(errno.into())),
        })?
    }

    /// Drives it to stop number `number`, from 1 on, and kills it there. If `is_done` returns true first, it
    /// runs on freely.
    ///
    /// # Errors
    /// When neither happens in time, or a call fails.
    pub fn kill_at(self, number: usize, mut is_done: impl FnMut() -> Result<bool>) -> Result<Driven> {
        let end = Instant::now() + WITHIN;
        let mut stops = 0;
        loop {
            match self.try_wait()? {
                WaitStatus::PtraceSyscall(_) => {
                    stops += 1;
                    if stops == number {
                        let stop = self.stop()?;
                        self.kill()?;
                        return Ok(Driven::Killed(stop));
                    }
                    self.resume(None)?;
                }
                WaitStatus::StillAlive if is_done()? => return self.release(),
                WaitStatus::StillAlive => {
                    ensure!(Instant::now() < end, "no stop {number} after {stops} stops");
                    sleep(PAUSE);
                }
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(Driven::Ended),
                status => self.pass_signal(status)?,
            }
        }
    }

    /// Detaches, so that it runs on freely.
    fn release(self) -> Result<Driven> {
        ptrace::interrupt(self.pid).context("PTRACE_INTERRUPT")?;
        match self.wait()? {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(Driven::Ended),
            WaitStatus::Stopped(_, signal) => ptrace::detach(self.pid, signal)?,
            _ => ptrace::detach(self.pid, None)?,
        }
        Ok(Driven::Done)
    }

    /// A traced process must be reaped by its tracer first.
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

    /// Continues from a stop that is not at a call, with the signal that caused it.
    fn pass_signal(&self, status: WaitStatus) -> Result<()> {
        match status {
            WaitStatus::Stopped(_, signal) => self.resume(Some(signal)),
            WaitStatus::PtraceEvent(..) => self.resume(None),
            other => bail!("the traced process: {other:?}"),
        }
    }

    fn resume(&self, signal: Option<Signal>) -> Result<()> {
        match ptrace::syscall(self.pid, signal) {
            // Another process killed it in the meantime: the next wait reports its end.
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => bail!("PTRACE_SYSCALL: {errno}"),
        }
    }

    fn try_wait(&self) -> nix::Result<WaitStatus> {
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
