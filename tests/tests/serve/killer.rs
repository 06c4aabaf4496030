//! Kills the workers of a service: a random one at each tick.

use kcov_tests::Session;
use kcov_tests::process::Process;
use kcov_tests::realtime::{Ticks, run_urgently};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt;
use std::time::Duration;

/// Time between two kills.
const BETWEEN: Duration = Duration::from_millis(10);

/// What a killer did.
#[derive(Clone, Copy, Debug)]
pub struct Kills {
    /// How long it ran.
    time: Duration,
    /// Workers that were alive and were killed.
    pub kills: u64,
    /// Ticks at which no worker was alive.
    idle: u64,
}

impl Kills {
    /// Ticks in that time, including those that were missed.
    pub fn ticks(&self) -> u64 {
        (self.time.as_nanos() / BETWEEN.as_nanos()) as u64
    }
}

impl fmt::Display for Kills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kills { time, kills, idle } = *self;
        let (interval, ticks) = (time.as_secs_f64() * 1000.0 / kills.max(1) as f64, self.ticks());
        let late = ticks.saturating_sub(kills + idle);
        write!(f, "{kills} workers killed in {time:?}, one every {interval:.1} ms; of {ticks} ticks ")?;
        write!(f, "{idle} found no worker, {late} came too late")
    }
}

/// Kills workers of a session.
#[derive(Debug)]
pub struct Killer<'a> {
    session: &'a Session,
    /// The broker of the tenant whose workers are spared.
    spared: Option<Process>,
    /// Parents of workers.
    zygotes: Vec<Process>,
    random: fastrand::Rng,
}

impl<'a> Killer<'a> {
    /// Creates a killer that spares the workers below `spared`.
    pub fn new(session: &'a Session, spared: Option<Process>) -> Self {
        let mut killer =
            Killer { session, spared, zygotes: Vec::new(), random: fastrand::Rng::with_seed(16) };
        killer.find_zygotes();
        killer
    }

    fn find_zygotes(&mut self) {
        let is_victim = |zygote: &Process| self.spared.is_none_or(|spared| !zygote.descends_from(spared));
        self.zygotes = self.session.named("kcov-zygote").into_iter().filter(is_victim).collect();
    }

    /// Kills a random worker at each tick.
    pub fn kill_for(&mut self, time: Duration) -> Kills {
        run_urgently(|| {
            let (mut ticks, mut kills, mut idle) = (Ticks::every(BETWEEN), 0, 0);
            while ticks.wait() <= time {
                let killed = self.kill_one();
                kills += u64::from(killed);
                idle += u64::from(!killed);
            }
            Kills { time, kills, idle }
        })
    }

    /// Visits the zygotes in random order and kills the worker of the first that has one. Returns whether any
    /// had.
    fn kill_one(&mut self) -> bool {
        self.random.shuffle(&mut self.zygotes);
        let looks = self.zygotes.iter().map(|zygote| zygote.children());
        let mut all_live = true;
        let workers = looks.inspect(|look| all_live &= look.is_some()).flatten().flatten();
        let mut living = workers.filter(|worker| worker.is_alive());
        // It may have ended by itself.
        let killed = living.any(|worker| kill(Pid::from_raw(worker.0), Signal::SIGKILL).is_ok());
        if !all_live {
            self.find_zygotes();
        }
        killed
    }
}
