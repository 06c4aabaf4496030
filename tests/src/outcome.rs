//! The results of a run.

use crate::event::Event;
use crate::report::Report;
use anyhow::{Context, Result};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The results of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status of the front.
    pub status: ExitStatus,
    /// Standard output of the command.
    pub stdout: String,
    /// Standard error of the command, and the log.
    pub stderr: String,
    pub(crate) report: Option<Report>,
}

impl Outcome {
    /// Exit code; 128 + n for death by signal n, as in a shell.
    #[must_use]
    pub fn code(&self) -> i32 {
        let by_signal = || self.status.signal().map(|signal| 128 + signal);
        self.status.code().or_else(by_signal).unwrap_or(-1)
    }

    /// The report.
    ///
    /// # Errors
    /// When the broker left none.
    pub fn report(&self) -> Result<&Report> {
        self.report.as_ref().with_context(|| format!("the broker left no report:\n{}", self.stderr))
    }

    /// The events of the log.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        Event::all(&self.stderr)
    }

    /// Asserts that the command ended with status 0, that no worker crashed and that nothing is left in the
    /// broker.
    ///
    /// # Errors
    /// When the broker left no report.
    ///
    /// # Panics
    /// When an assertion fails.
    #[track_caller]
    pub fn assert_sound(&self) -> Result<&Report> {
        assert_eq!(self.code(), 0, "exit status\n{}\n{}", self.stdout, self.stderr);
        let report = self.report()?;
        assert_eq!(report.worker_crashes, 0, "{report:?}\n{}", self.stderr);
        report.assert_nothing_left();
        Ok(report)
    }
}
