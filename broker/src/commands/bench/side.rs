//! One of the two sides of a comparison: a client that runs batches on request, and its supervisor.

use super::client::{BARE, SUBCOMMAND};
use super::workload::Workload;
use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time of a batch and of the exit of a side: a thousand times the usual. A supervisor that loses a
/// notification must not hang the benchmark.
const DEADLINE: Duration = Duration::from_secs(30);
/// Interval between checks whether a side has exited.
const END_POLL: Duration = Duration::from_millis(5);

/// A running side.
#[derive(Debug)]
pub struct Side {
    name: &'static str,
    child: Child,
    /// `None` after the client was asked to exit.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Side {
    /// Starts the client under the bare supervisor.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn limit(workload: Workload) -> Result<Side> {
        if workload == Workload::LiveView {
            return Side::run(workload, &["--publish", "none"]);
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SUBCOMMAND).arg(workload.name()).arg(BARE);
        Side::start("bare supervisor", command)
    }

    /// Starts the client as a tenant of the product.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn product(workload: Workload) -> Result<Side> {
        Side::run(workload, &[])
    }

    fn run(workload: Workload, options: &[&str]) -> Result<Side> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command.arg("run").args(options);
        if matches!(workload, Workload::HandlerRead | Workload::HandlerWrite) {
            command.arg("--bench-handler");
        }
        let trace = match workload {
            Workload::Noop | Workload::LiveView | Workload::Callers => Some("getppid"),
            Workload::Program => Some("syzkaller"),
            _ => None,
        };
        command.args(trace.iter().flat_map(|set| ["--trace", set]));
        command.arg("--").arg(program).arg(SUBCOMMAND).arg(workload.name());
        Side::start("kcov-broker run", command)
    }

    fn start(name: &'static str, mut command: Command) -> Result<Side> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().map(BufReader::new).context("the output was not piped")?;
        Ok(Side { name, child, requests, answers })
    }

    /// Runs a batch of `operations` operations. Returns the nanoseconds per operation.
    ///
    /// # Errors
    /// If the client fails, exits, or takes longer than [`DEADLINE`].
    pub fn batch(&mut self, operations: u32) -> Result<f64> {
        let name = self.name;
        let requests = self.requests.as_mut().context("the client was asked to exit")?;
        writeln!(requests, "{operations}").with_context(|| format!("the client of {name} has exited"))?;
        let mut ready = [PollFd::new(self.answers.get_ref().as_fd(), PollFlags::POLLIN)];
        let events = poll(&mut ready, PollTimeout::try_from(DEADLINE)?)?;
        ensure!(events > 0, "the client of {name} did not answer within {DEADLINE:?}");
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the client of {name} has exited");
        let elapsed: u64 = line
            .trim_end()
            .parse()
            .with_context(|| format!("invalid answer of the client of {name}: {line:?}"))?;
        Ok(elapsed as f64 / f64::from(operations))
    }

    /// Ends the client and waits for the supervisor.
    ///
    /// # Errors
    /// If one of them fails or does not exit.
    pub fn finish(mut self) -> Result<()> {
        self.requests = None;
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} ended with {status}", self.name),
                None => std::thread::sleep(END_POLL),
            }
        }
        bail!("{} did not exit within {DEADLINE:?}", self.name)
    }
}

impl Drop for Side {
    /// Ends a side whose measurement failed. Its client exits too, at the end of its input or the death of
    /// its supervisor.
    fn drop(&mut self) {
        self.requests = None;
        if let Ok(None) = self.child.try_wait() {
            // kill only fails if the process has exited.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
