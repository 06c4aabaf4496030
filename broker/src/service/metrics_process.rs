//! The process that exports the tenants' counters to Prometheus, like `kcov-broker metrics`, while the
//! service runs.
//!
//! It is a separate process because it serves untrusted clients and may block on disks. It reads the counters
//! that brokers publish, and requests the list of tenants like any client of the control socket. If it dies,
//! it is restarted.

use super::control::client;
use super::control::message::{Condition, Status};
use super::watch::Watched;
use crate::config::service::MetricsConfig;
use crate::live::exporter::Exporter;
use crate::live::metrics::ServiceTenant;
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

/// Time between its death and its restart, because most causes do not disappear at once.
const PAUSE: Duration = Duration::from_secs(3);
/// `CAP_DAC_OVERRIDE`: the directory of the file may belong to another user.
const CAPABILITIES: u64 = 1 << 1;

/// The process. Dropping it ends the process.
#[derive(Debug)]
pub struct MetricsProcess {
    config: MetricsConfig,
    /// The service's control socket.
    control: PathBuf,
    process: Option<(u32, OwnedFd)>,
    /// When to start it.
    start: Option<Duration>,
}

impl MetricsProcess {
    /// A process that is to be started.
    #[must_use]
    pub fn new(config: MetricsConfig, control: PathBuf) -> Self {
        MetricsProcess { config, control, process: None, start: Some(Duration::ZERO) }
    }

    /// Its process id, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|(pid, _)| *pid)
    }

    /// When the next call of `advance` has an effect.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.start
    }

    /// Starts the process if it is due.
    pub fn advance(&mut self, now: Duration, poller: &Poller<Watched>) {
        if self.start.is_some_and(|start| start <= now) {
            self.start = None;
            if let Err(error) = self.start(poller) {
                error!(
                    event = "metrics_end",
                    reason = format!("{error:#}"),
                    "cannot start the process that exports metrics"
                );
                self.start = Some(now + PAUSE);
            }
        }
    }

    fn start(&mut self, poller: &Poller<Watched>) -> anyhow::Result<()> {
        let manager = getpid();
        let pid = fork::child(|| serve(&self.config, &self.control, manager)).context("fork")?;
        let pid = pid.as_raw().cast_unsigned();
        let process = pidfd_open(pid, false).context("pidfd_open")?;
        poller.add(&process, Watched::Metrics).context("epoll_ctl")?;
        self.process = Some((pid, process));
        Ok(())
    }

    /// Notes that the process has died.
    pub fn ended(&mut self, now: Duration) {
        self.process = None;
        self.start = Some(now + PAUSE);
        warn!(event = "metrics_end", "the process that exports metrics died; it is restarted in {PAUSE:?}");
    }
}

impl Drop for MetricsProcess {
    fn drop(&mut self) {
        if let Some((_, process)) = &self.process {
            // ESRCH: it has exited already.
            let _ = pidfd::send_signal(process.as_fd(), Signal::SIGTERM);
        }
    }
}

/// Runs the process. Returns the exit status.
fn serve(config: &MetricsConfig, control: &Path, manager: Pid) -> i32 {
    let _ = nix::sys::prctl::set_name(c"kcov-metrics");
    title::set("kcov-metrics: of kcov-broker serve");
    match prepare(manager).and_then(|()| export(config, control)) {
        Ok(()) => {
            // Readers must not take an outdated file for the current state.
            config.file.iter().for_each(|file| _ = fs::remove_file(file));
            0
        }
        Err(error) => {
            error!(event = "metrics_end", reason = format!("{error:#}"), "cannot export metrics");
            1
        }
    }
}

/// Drops what it inherited from the manager: session, descriptors, capabilities except one, blocked signals.
fn prepare(manager: Pid) -> anyhow::Result<()> {
    // EPERM: it leads a session already.
    let _ = setsid();
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("prctl(PR_SET_PDEATHSIG)")?;
    anyhow::ensure!(getppid() == manager, "the service has exited");
    confine::keep_only(&[])?;
    let held = privilege::capabilities().context("capget")?;
    privilege::set_capabilities(held.permitted & CAPABILITIES).context("capset")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).context("sigprocmask")
}

fn export(config: &MetricsConfig, control: &Path) -> anyhow::Result<()> {
    let MetricsConfig { file, every, listen } = config.clone();
    let service = || service_tenants(control);
    Exporter { selection: Selection::default(), service: &service, file, every, listen }.serve()
}

/// The tenants of the service with this control socket; none if it does not answer.
#[must_use]
pub fn service_tenants(control: &Path) -> Vec<ServiceTenant> {
    let tenants = client::tenants(control).unwrap_or_default();
    let convert = |status: Status| ServiceTenant {
        is_running: status.state == Condition::Running,
        state: status.state.name(),
        name: status.name,
        broker: status.broker,
        starts: status.starts,
        failures: status.failures,
        last_status: status.last_status,
    };
    tenants.into_iter().map(convert).collect()
}
