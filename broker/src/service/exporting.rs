//! The process that tells the tenants' counters to Prometheus: `kcov-broker metrics` for as long as the service runs.
//!
//! It is a process of its own because it answers whoever connects, and waits for disks. It reads what brokers show to
//! everybody, and asks for the list of the tenants as any client of the control socket does; and if it ends, it is started
//! again.

use super::watch::Watched;
use crate::config::service::MetricsConfig;
use crate::live::exporter::Exporter;
use crate::live::selection::Selection;
use crate::sandbox::confine;
use crate::sys::poller::Poller;
use crate::sys::process::pidfd_open;
use crate::sys::{fork, pidfd, privilege, title};
use anyhow::Context;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, getpid, getppid, setsid};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::{error, warn};

/// Time between the end of one and the start of the next: what it failed by rarely goes away at once.
const PAUSE: Duration = Duration::from_secs(3);
/// `CAP_DAC_OVERRIDE`: the folder of the file may be another user's.
const CAPABILITIES: u64 = 1 << 1;

/// See the module. Dropping it has the process end.
#[derive(Debug)]
pub struct Exporting {
    config: MetricsConfig,
    /// The service's control socket.
    control: PathBuf,
    process: Option<OwnedFd>,
    /// When it is to be started.
    start: Option<Duration>,
}

impl Exporting {
    /// One that is to be started.
    #[must_use]
    pub fn new(config: MetricsConfig, control: PathBuf) -> Self {
        Exporting { config, control, process: None, start: Some(Duration::ZERO) }
    }

    /// When time makes a difference next.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.start
    }

    /// Lets time pass: starts it if that is due.
    pub fn time(&mut self, now: Duration, poller: &Poller<Watched>) {
        if self.start.is_some_and(|start| start <= now) {
            self.start = None;
            if let Err(error) = self.start(poller) {
                error!(
                    event = "metrics_end",
                    reason = format!("{error:#}"),
                    "no metrics: no process for them"
                );
                self.start = Some(now + PAUSE);
            }
        }
    }

    fn start(&mut self, poller: &Poller<Watched>) -> anyhow::Result<()> {
        let manager = getpid();
        let pid = fork::child(|| serve(&self.config, &self.control, manager)).context("fork")?;
        let process = pidfd_open(pid.as_raw().cast_unsigned(), false).context("pidfd_open")?;
        poller.add(&process, Watched::Exporter).context("epoll_ctl")?;
        self.process = Some(process);
        Ok(())
    }

    /// The process ended.
    pub fn ended(&mut self, now: Duration) {
        self.process = None;
        self.start = Some(now + PAUSE);
        warn!(event = "metrics_end", "the process for metrics ended; it starts again in {PAUSE:?}");
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // ESRCH: it was quicker.
            let _ = pidfd::send_signal(process.as_fd(), Signal::SIGTERM);
        }
    }
}

/// Its process. Returns the exit status.
fn serve(config: &MetricsConfig, control: &Path, manager: Pid) -> i32 {
    let _ = nix::sys::prctl::set_name(c"kcov-metrics");
    title::set("kcov-metrics: of kcov-broker serve");
    match prepare(manager).and_then(|()| exporter(config, control).serve()) {
        Ok(()) => {
            // Nobody keeps it up to date any more: whoever reads it is not to take it for the truth.
            config.file.iter().for_each(|file| _ = fs::remove_file(file));
            0
        }
        Err(error) => {
            error!(event = "metrics_end", reason = format!("{error:#}"), "no metrics can be told");
            1
        }
    }
}

/// Keeps nothing of the manager: no job, no descriptor, no capability but one, no signal that is held back.
fn prepare(manager: Pid) -> anyhow::Result<()> {
    // EPERM: it leads a session already.
    let _ = setsid();
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("prctl(PR_SET_PDEATHSIG)")?;
    anyhow::ensure!(getppid() == manager, "the service is gone");
    confine::keep_only(&[])?;
    let held = privilege::capabilities().context("capget")?;
    privilege::set_capabilities(held.permitted & CAPABILITIES).context("capset")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("sigprocmask")
}

fn exporter(config: &MetricsConfig, control: &Path) -> Exporter {
    let MetricsConfig { file, every, listen } = config.clone();
    Exporter { selection: Selection::default(), service: Some(control.to_owned()), file, every, listen }
}
