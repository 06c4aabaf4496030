//! Work that must run on time on a busy machine.

use anyhow::Result;
use nix::unistd::gettid;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs `work` on a thread with real-time scheduling (`SCHED_FIFO`, at its lowest priority). Where that is
/// not permitted, the thread is an ordinary one, and a message on standard output says so.
///
/// # Panics
/// When `work` does.
pub fn run_urgently<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let urgent = || {
        if let Err(error) = raise_priority() {
            println!("the thread has no real-time priority and may be late: {error}");
        }
        work()
    };
    thread::scope(|scope| scope.spawn(urgent).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Uses `chrt`, as there is no safe binding of the call.
fn raise_priority() -> Result<()> {
    let mut command = Command::new("chrt");
    command.args(["--fifo", "--pid", "1", &gettid().to_string()]).stdin(Stdio::null());
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "chrt: {}", said.trim());
    Ok(())
}

/// Ticks at a fixed interval. Ticks that pass while the caller is busy are skipped.
#[derive(Debug)]
pub struct Ticks {
    start: Instant,
    distance: Duration,
    /// Number of the last tick.
    tick: u32,
}

impl Ticks {
    /// The first tick is `distance` from now.
    #[must_use]
    pub fn every(distance: Duration) -> Self {
        Ticks { start: Instant::now(), distance, tick: 0 }
    }

    /// Waits for the next tick. Returns its time since the start.
    pub fn wait(&mut self) -> Duration {
        let passed = self.start.elapsed().as_nanos() / self.distance.as_nanos().max(1);
        self.tick = self.tick.max(u32::try_from(passed).unwrap_or(u32::MAX)).saturating_add(1);
        let due = self.distance.saturating_mul(self.tick);
        thread::sleep(due.saturating_sub(self.start.elapsed()));
        due
    }
}
