//! A session is the place of one run: a directory with hard links to the programs under test, and a mark in
//! the environment.
//!
//! The links identify the run's own processes whatever they change about themselves: `/proc/PID/exe` names
//! the link through which a process was started, and concurrent tests have different links. The mark
//! identifies the command and the processes that it starts.

use crate::binaries;
use crate::process::Process;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Name of the mark in the environment.
const MARK: &str = "KCOV_TESTS_SESSION";

/// A session. Dropping it kills the processes that are left of the run.
#[derive(Debug)]
pub struct Session {
    // In the directory of the programs, because hard links do not cross file systems.
    directory: TempDir,
}

impl Session {
    /// Creates a session.
    ///
    /// # Errors
    /// When not root, or when the programs do not build.
    pub fn new() -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "these tests start kcov-broker as root: run them as root, or by `deploy/test`, which uses sudo"
        );
        let programs = binaries::directory()?;
        let directory = tempfile::Builder::new().prefix("session-").tempdir_in(programs)?;
        // A jailed process of any uid may need its own program.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let session = Session { directory };
        for name in binaries::NAMES {
            fs::hard_link(programs.join(name), session.path(name))
                .with_context(|| format!("link of {name}"))?;
        }
        Ok(session)
    }

    /// A path in the session's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// The session's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A command that runs `program` with the mark of this session.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env(MARK, self.directory());
        command
    }

    /// The run's own processes: broker, zygotes, readers, workers and so on.
    #[must_use]
    pub fn own_processes(&self) -> Vec<Process> {
        Process::all().into_iter().filter(|process| process.runs_from(self.directory())).collect()
    }

    /// Own processes of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<Process> {
        let is_named = |process: &Process| process.name().is_some_and(|found| found == name);
        self.own_processes().into_iter().filter(is_named).collect()
    }

    /// Every process of the session: its own, the command's, and all that the command started.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let mark = format!("{MARK}={}", self.directory().display());
        let ours = |process: &Process| process.runs_from(self.directory()) || process.environment_has(&mark);
        Process::all().into_iter().filter(ours).collect()
    }

    /// Kills every process of the session until none is found.
    pub fn kill(&self) {
        for _ in 0..100 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for process in left {
                // It may have ended already.
                let _ = kill(Pid::from_raw(process.0), Signal::SIGKILL);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.kill();
    }
}
