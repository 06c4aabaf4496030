//! Separate runs beside the long-lived brokers, one at a time, for acts that need options of the broker.

use super::acts::{BESIDE, ROOTLESS};
use super::summary::Summary;
use crate::client;
use crate::outcome::Outcome;
use crate::run::{Run, Running};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// A run is started only if this much time is left.
const ROOM: Duration = Duration::from_secs(5);
/// Exit status of a client that needs something this machine lacks.
const UNAVAILABLE: i32 = 77;
/// Deadline of a run that hangs.
const WITHIN: Duration = Duration::from_secs(180);

/// The separate runs.
pub struct Beside {
    random: fastrand::Rng,
    running: Option<(String, Instant, Running)>,
}

impl Beside {
    /// Creates it without a run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Beside { random: fastrand::Rng::with_seed(seed.rotate_left(17)), running: None }
    }

    /// Takes the result of a run that has ended, and starts the next one.
    pub fn advance(&mut self, summary: &mut Summary, left: Duration) {
        if let Some((_, start, running)) = &self.running {
            if !running.session.own_processes().is_empty() && start.elapsed() < WITHIN {
                return;
            }
            self.finish(summary);
        }
        if left < ROOM {
            return;
        }
        match self.start() {
            Ok((name, running)) => self.running = Some((name, Instant::now(), running)),
            Err(error) => summary.violation(&format!("a separate run: {error:#}")),
        }
    }

    fn start(&mut self) -> Result<(String, Running)> {
        let (act, options) = self.random.choice(BESIDE).context("acts")?;
        let (name, arguments) = act.split_first().context("a client")?;
        let words = [client(name)?.into_os_string()].into_iter().chain(arguments.iter().map(Into::into));
        let run = Run::new(words).trace("kcov,getppid").within(WITHIN);
        let run = options.iter().fold(run, |run, &option| match option {
            ROOTLESS => run.rootless(),
            option => run.option(option),
        });
        Ok((format!("{} {}", act.join(" "), options.join(" ")), run.start()?))
    }

    /// Waits for the current run.
    pub fn finish(&mut self, summary: &mut Summary) {
        let Some((name, _, running)) = self.running.take() else { return };
        summary.runs_beside += 1;
        match running.finish() {
            Ok(outcome) if outcome.code() == 0 => check(&name, &outcome, summary),
            Ok(outcome) if outcome.code() == UNAVAILABLE => summary.unavailable += 1,
            Ok(outcome) => {
                let said = format!("{}{}", outcome.stdout, outcome.stderr);
                summary.violation(&format!("beside, {name}: status {}: {said}", outcome.code()));
            }
            Err(error) => summary.violation(&format!("beside, {name}: {error:#}")),
        }
    }
}

/// Checks that a run left nothing.
fn check(name: &str, outcome: &Outcome, summary: &mut Summary) {
    let Ok(report) = outcome.report() else {
        return summary.violation(&format!("beside, {name}: no report"));
    };
    let left = [report.instances_live, report.handles_live, report.tasks_live, report.arena_bytes];
    // A worker that waits for a processor may miss a short deadline. Its caller does not notice.
    let crashed = report.worker_crashes != 0 && !name.contains("--deadline");
    if left != [0; 4] || crashed {
        summary.violation(&format!("beside, {name}: something is left, or a worker crashed: {report:?}"));
    }
}
