//! A long-lived broker with its driver, and samples of its resources.

use super::acts::{self, Theme};
use super::inside::Done;
use super::summary::{Figures, Summary};
use crate::process::Process;
use crate::run::{Run, Running};
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// Time for the driver's last acts after its end.
const LAST_ACTS: Duration = Duration::from_secs(240);
/// Descriptors that a broker may keep: its tables, pidfds of former owners, and a few.
const CACHES: u64 = 64 + 256 + 64;
/// Memory for those, and for tables that keep the largest size they once needed.
const GROWTH_KIB: u64 = 8 * 1024;
/// Share of the samples that are taken while the broker warms up.
const WARM_UP: f64 = 0.2;

/// A sample of the broker's process.
#[derive(Clone, Copy, Debug)]
struct Sample {
    descriptors: u64,
    memory_kib: u64,
    processes: usize,
}

/// A long-lived broker.
pub struct LongLived {
    theme: Theme,
    running: Running,
    samples: Vec<Sample>,
    random: fastrand::Rng,
    kills: u64,
}

impl LongLived {
    /// Starts it for `time`.
    ///
    /// # Errors
    /// When a client does not build or the broker does not start.
    pub fn start(theme: Theme, time: Duration, seed: u64) -> Result<Self> {
        let clients = acts::build()?;
        let session = super::session()?;
        let output = session.path("acts");
        std::fs::create_dir(&output)?;
        let driver =
            std::env::var_os("KCOV_SOAK").map_or_else(std::env::current_exe, |path| Ok(path.into()))?;
        let words = [
            driver.into_os_string(),
            "inside".into(),
            theme.name().into(),
            time.as_secs().to_string().into(),
            seed.to_string().into(),
            clients.into(),
            output.into(),
        ];
        let run = Run::new(words).trace(theme.trace()).logged().within(time + LAST_ACTS);
        let running = run.start_in(session).context("start of a broker")?;
        let random = fastrand::Rng::with_seed(!seed);
        Ok(LongLived { theme, running, samples: Vec::new(), random, kills: 0 })
    }

    /// Takes a sample, and kills a worker if that is the theme.
    pub fn take_sample(&mut self, elapsed: Duration) {
        /// Before this time the driver may not have started.
        const SETTLED: Duration = Duration::from_secs(1);
        if elapsed < SETTLED {
            return;
        }
        let own = self.running.session.own_processes();
        let named = |name: &str| {
            own.iter().copied().filter(|one| one.name().as_deref() == Some(name)).collect::<Vec<Process>>()
        };
        if let Some(sample) = sample(&named("kcov-broker"), own.len()) {
            self.samples.push(sample);
        }
        if self.theme == Theme::Killed
            && let Some(worker) = self.random.choice(named("kcov-worker"))
        {
            // It may have ended by itself.
            self.kills += u64::from(kill(Pid::from_raw(worker.0), Signal::SIGKILL).is_ok());
        }
    }

    /// A summary of its last sample.
    #[must_use]
    pub fn state(&self) -> String {
        match self.samples.last() {
            Some(Sample { descriptors, memory_kib, processes }) => {
                format!("{}: {memory_kib} KiB, {descriptors} fds, {processes} processes", self.theme.name())
            }
            None => format!("{}: no sample yet", self.theme.name()),
        }
    }

    /// Waits for its end and checks its results.
    pub fn finish(self, summary: &mut Summary) {
        let LongLived { theme, running, samples, kills, .. } = self;
        let name = theme.name();
        let figures = figures(&samples);
        let outcome = match running.finish() {
            Ok(outcome) => outcome,
            Err(error) => return summary.violation(&format!("{name}: {error:#}")),
        };
        match serde_json::from_str::<Done>(outcome.stdout.trim()) {
            Ok(done) => summary.add_driver(name, done),
            Err(error) => {
                summary.violation(&format!("{name}: the driver printed {:?}: {error}", outcome.stdout))
            }
        }
        if outcome.code() != 0 {
            summary.violation(&format!("{name}: exit status {}: {}", outcome.code(), outcome.stderr));
        }
        let Ok(report) = outcome.report() else { return summary.violation(&format!("{name}: no report")) };
        let left = [report.instances_live, report.handles_live, report.tasks_live, report.arena_bytes];
        if left != [0; 4] {
            summary.violation(&format!("{name}: instances, handles, tasks, bytes left: {left:?}"));
        }
        if theme != Theme::Killed && report.worker_crashes != 0 {
            summary.violation(&format!("{name}: {} workers died: {}", report.worker_crashes, outcome.stderr));
        }
        summary.instances += report.instances_opened;
        summary.notifications += report.notifications;
        summary.records += report.records;
        summary.kills += kills;
        if let Some(figures) = figures {
            check(name, &figures, summary);
            summary.figures.insert(name.to_owned(), figures);
        }
    }
}

fn sample(brokers: &[Process], processes: usize) -> Option<Sample> {
    // The front has the program's name as well; the broker is the process with the most descriptors.
    let seen = brokers.iter().filter_map(|broker| Some((broker, broker.descriptors()?.len() as u64)));
    let (broker, descriptors) = seen.max_by_key(|(_, descriptors)| *descriptors)?;
    let memory = broker.status()?.get("VmRSS")?.split_whitespace().next()?.parse().ok()?;
    Some(Sample { descriptors, memory_kib: memory, processes })
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Medians of the first and the last third after the warm-up; `None` if there are too few samples.
fn figures(samples: &[Sample]) -> Option<Figures> {
    const FEWEST: usize = 6;
    let warm = samples.get((samples.len() as f64 * WARM_UP) as usize..)?;
    let third = warm.len() / 3;
    if warm.len() < FEWEST {
        return None;
    }
    let (early, late) = (&warm[..third], &warm[warm.len() - third..]);
    let of = |part: &[Sample], what: fn(&Sample) -> u64| median(part.iter().map(what).collect());
    Some(Figures {
        early_kib: of(early, |sample| sample.memory_kib),
        late_kib: of(late, |sample| sample.memory_kib),
        early_fds: of(early, |sample| sample.descriptors),
        late_fds: of(late, |sample| sample.descriptors),
        most_processes: samples.iter().map(|sample| sample.processes as u64).max().unwrap_or_default(),
    })
}

fn check(name: &str, figures: &Figures, summary: &mut Summary) {
    /// Front, broker, spawner, tender, zygote, worker, reader; slow readers and their replacements.
    const PROCESSES: u64 = 32;
    if figures.late_kib > figures.early_kib + GROWTH_KIB {
        summary.violation(&format!("{name}: memory grows: {figures:?}"));
    }
    if figures.late_fds > figures.early_fds + CACHES {
        summary.violation(&format!("{name}: descriptors grow: {figures:?}"));
    }
    if figures.most_processes > PROCESSES {
        summary.violation(&format!("{name}: too many processes: {figures:?}"));
    }
}
