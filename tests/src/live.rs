//! What `kcov-broker status --json` shows, and the segments that it reads.

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
/// Where segments are.
pub const DIRECTORY: &str = "/dev/shm";

/// A tenant, as far as tests look at it.
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

/// A file that is no segment.
#[derive(Clone, Debug, Deserialize)]
pub struct Refused {
    /// Its name.
    pub segment: String,
    /// Why not.
    pub reason: String,
}

/// All that `status --json` prints.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the names of the product's own fields")]
pub struct Status {
    pub tenants: Vec<Tenant>,
    pub refused: Vec<Refused>,
}

impl Status {
    /// What is shown now, of all users.
    ///
    /// # Errors
    /// When the command fails.
    pub fn now(session: &Session) -> Result<Self> {
        Self::by(Command::new(session.path("kcov-broker")))
    }

    /// What `command`, which is `kcov-broker` under whatever rights, shows.
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

    /// Why this file is refused.
    #[must_use]
    pub fn refusal(&self, segment: &str) -> Option<&str> {
        self.refused.iter().find(|refused| refused.segment == segment).map(|refused| refused.reason.as_str())
    }
}

/// The tenant of `session`, as soon as it is shown and `holds`.
///
/// # Errors
/// When that does not come.
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

/// The file of a segment.
#[must_use]
pub fn path(segment: &str) -> PathBuf {
    Path::new(DIRECTORY).join(segment)
}

/// Waits until the file is gone.
///
/// # Errors
/// When it stays.
pub fn gone(segment: &str) -> Result<()> {
    until("the end of the segment", WITHIN, || fs::symlink_metadata(path(segment)).is_err().then_some(()))
}

/// Calls of getppid that a [`Client`] makes.
pub const CALLS: u64 = 700;

/// A run of `live_counts`, which waits when it has done all that it does.
#[derive(Debug)]
pub struct Client {
    /// The run.
    pub running: Running,
    control: Control,
}

impl Client {
    /// Starts it, and waits until all is done.
    ///
    /// # Errors
    /// When it does not start.
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

    /// Its tenant, with all its calls counted.
    ///
    /// # Errors
    /// When that does not come.
    pub fn settled(&self) -> Result<Tenant> {
        // Besides: an exec, two opens, three requests, two mappings.
        shown(&self.running.session, |tenant| {
            tenant.notifications_by_kind["trace"] == CALLS && tenant.notifications >= CALLS + 8
        })
    }

    /// Has it go on, and waits for the end of the run.
    ///
    /// # Errors
    /// When that does not come.
    pub fn outcome(self) -> Result<Outcome> {
        self.control.set(0, 1)?;
        self.running.finish()
    }

    /// The same, for a run that is to end well.
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
    /// Its name.
    pub segment: String,
}

impl Planted {
    /// A name of this process's own, as if of user `uid`.
    #[must_use]
    pub fn name(uid: u32, what: &str) -> Self {
        Planted { segment: format!("kcov-broker.{uid}.test-{}-{what}", std::process::id()) }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path(&self.segment)
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        // One of the two is right, unless it is gone.
        let _ = fs::remove_file(self.path());
        let _ = fs::remove_dir(self.path());
    }
}
