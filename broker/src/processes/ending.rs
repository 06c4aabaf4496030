//! Ends child processes within a bound, and names those that cannot be ended.
//!
//! A process that was stopped ends when it is killed. One that waits in the kernel without being killable (state D: a
//! file system that does not answer) ends only when that wait does, and so does one in a frozen control group of
//! version 1. No process of a run waits for those without a bound.

use crate::sys::pidfd;
use crate::sys::process::pidfd_open;
use crate::sys::procfs;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fmt;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A killed process that the kernel does not hold is gone within this time.
pub const KILL_TIME: Duration = Duration::from_millis(1500);
/// Time for the spawner to end all other helpers: the time for its children to end, and to remove what it made.
pub const SPAWNER_TIME: Duration = Duration::from_millis(2500);
/// Wait for killed processes that all are in state D, by a process whose child has already waited for them.
pub const AGAIN_TIME: Duration = Duration::from_millis(300);
/// Interval between two looks.
const LOOK: Duration = Duration::from_millis(2);
/// Children that have not ended after this time may have children that keep running.
const DEEP: Duration = Duration::from_millis(200);
/// Most processes that a message names.
const MAX_NAMED: usize = 8;

/// A process that cannot be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Left {
    pid: u32,
    name: String,
    state: char,
}

/// Processes that cannot be ended. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivors(Vec<Left>);

impl Survivors {
    fn below(pids: &[u32]) -> Self {
        let all = pids.iter().flat_map(|&pid| with_descendants(pid));
        let left = all.filter_map(|(pid, _)| {
            let (name, state) = procfs::name_and_state(pid)?;
            (state != 'Z').then_some(Left { pid, name: printable(&name), state })
        });
        Survivors(left.collect())
    }
}

/// Names are chosen by the processes.
fn printable(name: &str) -> String {
    name.escape_debug().collect()
}

impl fmt::Display for Survivors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot end ")?;
        for (number, Left { pid, name, state }) in self.0.iter().take(MAX_NAMED).enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}pid {pid} ({name}, state {state})")?;
        }
        match self.0.len().saturating_sub(MAX_NAMED) {
            0 if self.0.is_empty() => write!(f, "some processes")?,
            0 => {}
            more => write!(f, " and {more} more")?,
        }
        write!(f, ": killed, but the kernel holds them until what they wait for answers")
    }
}

/// Sends SIGCONT, in case the process was stopped: it must run to end in order.
pub fn wake(process: impl AsFd) {
    // ESRCH: it has ended.
    let _ = pidfd::send_signal(process.as_fd(), Signal::SIGCONT);
}

/// Process ids of the children of this thread, zombies included.
#[must_use]
pub fn children() -> Vec<u32> {
    procfs::children_of_this_thread()
}

/// Ends the children of this process that `is_ours` accepts, and what they leave behind, if this process is a
/// subreaper. Kills all of them at once, except for `orderly`: that one gets a SIGCONT, and is killed if it has not
/// ended after [`SPAWNER_TIME`].
///
/// # Errors
/// Those that are left after [`KILL_TIME`], or after `stuck` if all of them are in state D.
pub fn end_children(
    orderly: Option<u32>,
    stuck: Duration,
    is_ours: impl Fn(u32) -> bool,
) -> Result<(), Survivors> {
    let begin = Instant::now();
    // When there was nothing to wait for except killed processes.
    let mut killed = None;
    loop {
        let ours = children().into_iter().filter(|&pid| is_ours(pid));
        let left: Vec<u32> = ours.filter(|&pid| !has_been_reaped(pid)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let is_spared = |pid: u32| orderly == Some(pid) && begin.elapsed() < SPAWNER_TIME;
        for &pid in &left {
            let signal = if is_spared(pid) { Signal::SIGCONT } else { Signal::SIGKILL };
            // It has not been reaped, so its id has not been reused.
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
        if !left.iter().any(|&pid| is_spared(pid)) {
            let elapsed = killed.get_or_insert_with(Instant::now).elapsed();
            if elapsed >= DEEP {
                left.iter().for_each(|&pid| kill_descendants(pid));
            }
            if elapsed >= KILL_TIME
                || elapsed >= stuck.max(DEEP) && left.iter().all(|&pid| has_state(pid, 'D'))
            {
                return Err(Survivors::below(&left));
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Reaps a child if it has ended. Returns whether it has.
fn has_been_reaped(pid: u32) -> bool {
    // Its tracer must reap it first.
    let is_dead = || procfs::threads(pid).len() <= 1 && has_state(pid, 'Z');
    match waitpid(Pid::from_raw(pid.cast_signed()), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => true,
        Ok(_) | Err(_) => is_dead(),
    }
}

fn has_state(pid: u32, state: char) -> bool {
    procfs::name_and_state(pid).is_some_and(|(_, found)| found == state)
}

/// A process and all below it, each with its parent.
fn with_descendants(pid: u32) -> Vec<(u32, u32)> {
    let mut found = vec![(pid, 0)];
    let mut next = 0;
    while let Some(&(pid, _)) = found.get(next) {
        found.extend(procfs::children(pid).into_iter().map(|child| (child, pid)));
        next += 1;
    }
    found
}

/// Kills what is below a process that does not end. Its children are not reparented before it ends.
fn kill_descendants(pid: u32) {
    for (child, parent) in with_descendants(pid).into_iter().skip(1) {
        let Ok(pidfd) = pidfd_open(child, false) else { continue };
        // The process of the pidfd was alive at this look, so its id had not been reused.
        if procfs::stat(child).is_some_and(|stat| stat.parent == parent) {
            let _ = pidfd::send_signal(pidfd.as_fd(), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survivors_are_named_once_and_bounded() {
        let left = |pid| Left { pid, name: "cat".to_owned(), state: 'D' };
        let message = Survivors(vec![left(7)]).to_string();
        assert!(message.starts_with("cannot end pid 7 (cat, state D): "), "{message}");
        let message = Survivors((0..10).map(left).collect()).to_string();
        assert!(message.contains("state D) and 2 more: ") && !message.contains("pid 8"), "{message}");
        assert_eq!(printable("a\nb\x1b"), "a\\nb\\u{1b}");
    }
}
