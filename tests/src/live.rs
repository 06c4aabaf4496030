//! The output of `kcov-broker status --json`, and the segments that it reads.

use crate::process::Process;
use crate::report::Bucket;
use crate::{Control, Outcome, Run, Running, Session, client, until};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
/// Directory of the segments.
pub const DIRECTORY: &str = "/dev/shm";

/// A tenant, with the fields that tests use.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names of the product's own fields")]
pub struct Tenant {
    pub name: String,
    pub state: String,
    pub uid: u32,
    pub pid: i32,
    pub segment: String,
    pub pids: Pids,
    pub uptime_seconds: f64,
    pub instances: u64,
    pub instances_opened: u64,
    pub arena_bytes: u64,
    pub assists: u64,
    pub workers_started: u64,
    pub worker_crashes: u64,
    pub quota_refusals: u64,
    pub quota_refusals_by_quota: BTreeMap<String, u64>,
    pub notifications: u64,
    pub notifications_by_kind: BTreeMap<String, u64>,
    pub records: u64,
    pub records_lost: u64,
    pub records_suppressed: u64,
    pub latency: Vec<Bucket>,
}

impl Tenant {
    /// Notifications that were timed.
    #[must_use]
    pub fn timed(&self) -> u64 {
        self.latency.iter().map(|bucket| bucket.count).sum()
    }
}

/// Process ids of a tenant.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names of the product's own fields")]
pub struct Pids {
    pub front: i32,
    pub tender: i32,
    pub zygote: i32,
    pub workers: Vec<i32>,
}

/// A file that is not a segment.
#[derive(Clone, Debug, Deserialize)]
pub struct Refused {
    /// Name of the file.
    pub segment: String,
    /// Reason of the refusal.
    pub reason: String,
}

/// The whole output of `status --json`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names of the product's own fields")]
pub struct Status {
    pub tenants: Vec<Tenant>,
    pub refused: Vec<Refused>,
}

impl Status {
    /// Reads the status of all users' tenants.
    ///
    /// # Errors
    /// When the command fails.
    pub fn now(session: &Session) -> Result<Self> {
        Self::by(Command::new(session.path("kcov-broker")))
    }

    /// Reads the status with `command`, a `kcov-broker` with any privileges.
    ///
    /// # Errors
    /// When the command fails.
    pub fn by(mut command: Command) -> Result<Self> {
        let output = command.args(["status", "--json", "--all"]).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "status: {}\n{stderr}", output.status);
        serde_json::from_slice(&output.stdout).context("status --json")
    }

    /// The tenant of this segment.
    #[must_use]
    pub fn of(&self, segment: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.segment == segment)
    }

    /// The reason for which this file was refused.
    #[must_use]
    pub fn refusal(&self, segment: &str) -> Option<&str> {
        self.refused.iter().find(|refused| refused.segment == segment).map(|refused| refused.reason.as_str())
    }
}

/// Waits until the tenant of `session` is shown and `holds` accepts it, and returns it.
///
/// # Errors
/// When that does not happen in time.
pub fn shown(session: &Session, holds: impl Fn(&Tenant) -> bool) -> Result<Tenant> {
    let mut last = None;
    let found = until("the tenant to be shown as expected", WITHIN, || {
        let brokers = session.named("kcov-broker");
        last = Some(Status::now(session));
        let tenants = last.as_ref()?.as_ref().ok()?.tenants.iter();
        tenants.clone().find(|tenant| brokers.contains(&Process(tenant.pid)) && holds(tenant)).cloned()
    });
    found.with_context(|| format!("last: {last:#?}"))
}

/// Path of a segment.
#[must_use]
pub fn path(segment: &str) -> PathBuf {
    Path::new(DIRECTORY).join(segment)
}

/// Waits until the file is gone.
///
/// # Errors
/// When it stays.
pub fn gone(segment: &str) -> Result<()> {
    until("the segment to be removed", WITHIN, || fs::symlink_metadata(path(segment)).is_err().then_some(()))
}

/// Calls of getppid that a [`Client`] makes.
pub const CALLS: u64 = 700;

/// A run of `live_counts`, which makes its calls and then waits.
#[derive(Debug)]
pub struct Client {
    /// The run.
    pub running: Running,
    control: Control,
}

impl Client {
    /// Starts the run, and waits until the client has made its calls.
    ///
    /// # Errors
    /// When the run does not start.
    pub fn start(options: &[&str]) -> Result<Self> {
        const READY: u64 = 1;
        let session = Session::new()?;
        let control = Control::new(session.path("control"))?;
        let words =
            [client("live_counts")?.into_os_string(), control.path().into(), CALLS.to_string().into()];
        let run = options.iter().fold(Run::new(words).trace("kcov,getppid"), |run, word| run.option(word));
        let mut running = run.start_in(session)?;
        running.reach(&control, READY, 1)?;
        Ok(Client { running, control })
    }

    /// Returns its tenant once all calls are counted.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn tenant_after_calls(&self) -> Result<Tenant> {
        // The other calls: an exec, three requests, two mappings.
        shown(&self.running.session, |tenant| {
            tenant.notifications_by_kind["trace"] == CALLS && tenant.notifications >= CALLS + 6
        })
    }

    /// Lets the client go on, and waits for the end of the run.
    ///
    /// # Errors
    /// When the run does not end in time.
    pub fn outcome(self) -> Result<Outcome> {
        self.control.set(0, 1)?;
        self.running.finish()
    }

    /// The same for a run that must succeed.
    ///
    /// # Errors
    /// When it does not.
    pub fn finish(self) -> Result<()> {
        self.outcome()?.assert_sound().map(drop)
    }
}

/// A file in the directory of segments, removed on drop.
#[derive(Debug)]
pub struct Planted {
    /// Name of the file.
    pub segment: String,
}

impl Planted {
    /// Makes a name that is unique to this process, for a segment of the user `uid`.
    #[must_use]
    pub fn name(uid: u32, what: &str) -> Self {
        Planted { segment: format!("kcov-broker.{uid}.test-{}-{what}", std::process::id()) }
    }

    /// Path of the file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path(&self.segment)
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        // It is a file or a directory, or it is gone.
        let _ = fs::remove_file(self.path());
        let _ = fs::remove_dir(self.path());
    }
}
