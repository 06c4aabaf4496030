//! One of the two sides of a comparison: a client that does batches on request, and what supervises it.

use super::client::{BARE, SUBCOMMAND};
use super::workload::Workload;
use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that one batch, or the end of a side, may take: a thousand times the usual. A supervisor that lost a
/// notification must not hang the benchmark.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often the end of a side is looked for.
const END_POLL: Duration = Duration::from_millis(5);

/// A running side.
#[derive(Debug)]
pub struct Side {
    name: &'static str,
    child: Child,
    /// `None` once the client was told to end.
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
        command.arg(SUBCOMMAND).arg(workload.word()).arg(BARE);
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
        command.arg("--").arg(program).arg(SUBCOMMAND).arg(workload.word());
        Side::start("kcov-broker run", command)
    }

    fn start(name: &'static str, mut command: Command) -> Result<Side> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {name}"))?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().map(BufReader::new).context("the output was not piped")?;
        Ok(Side { name, child, requests, answers })
    }

    /// Has the client do `operations` operations; nanoseconds of one.
    ///
    /// # Errors
    /// If it fails, ends, or takes longer than [`DEADLINE`].
    pub fn batch(&mut self, operations: u32) -> Result<f64> {
        let name = self.name;
        let requests = self.requests.as_mut().context("the client was told to end")?;
        writeln!(requests, "{operations}").with_context(|| format!("the client of {name} has ended"))?;
        let mut ready = [PollFd::new(self.answers.get_ref().as_fd(), PollFlags::POLLIN)];
        let events = poll(&mut ready, PollTimeout::try_from(DEADLINE)?)?;
        ensure!(events > 0, "the client of {name} gave no answer within {DEADLINE:?}");
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the client of {name} has ended");
        let elapsed: u64 =
            line.trim_end().parse().with_context(|| format!("the client of {name} said {line:?}"))?;
        Ok(elapsed as f64 / f64::from(operations))
    }

    /// Ends the client and waits for its supervisor.
    ///
    /// # Errors
    /// If either fails or stays.
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
        bail!("{} did not end within {DEADLINE:?}", self.name)
    }
}

impl Drop for Side {
    /// A side that is still there is one of a measurement that failed. Its client finds its input at the end, or
    /// its supervisor gone, and ends too.
    fn drop(&mut self) {
        self.requests = None;
        if let Ok(None) = self.child.try_wait() {
            // Refused only for a process that has ended, which is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
