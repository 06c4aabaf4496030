//! The manager: one thread with one blocking point. It executes what the [`Life`] of each tenant decides.

mod members;
mod orders;
mod reload;

use super::clients::Clients;
use super::life::{Action, Event, Life, PATIENCE, Pace, State};
use super::link::Link;
use super::metrics_process::MetricsProcess;
use super::notify::Notifier;
use super::uids::{self, Uids};
use super::watch::Watched;
use crate::config::{Config, ServeConfig, TenantConfig};
use crate::launch::rootless::Standing;
use crate::processes::ending::{AGAIN_TIME, end_children};
use crate::service::control::socket::ControlSocket;
use crate::sys::poller::Poller;
use anyhow::Context;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use sd_notify::NotifyState;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Maximum number of tenants that are being started at the same time. Each start occupies a processor and has
/// a deadline.
const MAX_STARTS: usize = 16;
/// A start that takes longer is waiting for something other than a processor, so it does not delay others.
const SLOW_START: Duration = Duration::from_secs(2);
/// Processes that were killed at the end of a shutdown are gone within this time, or will not go.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);

/// A tenant and its current run.
#[derive(Debug)]
struct Member {
    config: TenantConfig,
    /// Whether it is in the configuration file.
    configured: bool,
    /// Whether it is removed after it has ended.
    leaving: bool,
    life: Life,
    link: Option<(u32, Link)>,
    /// With root: uid of the workers of its last run.
    uid: Option<u32>,
}

/// The manager.
#[derive(Debug)]
pub struct Manager {
    poller: Poller<Watched>,
    signals: SignalFd,
    control: ControlSocket,
    clients: Clients,
    notifier: Notifier,
    metrics: Option<MetricsProcess>,
    members: BTreeMap<String, Member>,
    /// The tenant of each run that is under way.
    runs: HashMap<u32, String>,
    /// With root: uids for workers.
    uids: Option<Uids>,
    /// The last number that was given to a run or a client.
    serial: u32,
    start: Instant,
    /// The configuration file.
    file: Option<PathBuf>,
    serve: ServeConfig,
    /// When the orderly shutdown must be over, if it has begun.
    ending: Option<Duration>,
}

impl Manager {
    /// Makes a manager for the tenants of `config`, which was read from `file`. It handles the signals of
    /// this process, which must have one thread, and reaps orphaned descendants.
    ///
    /// # Errors
    /// If a system call fails, or root lacks capabilities.
    pub fn new(config: Config, file: Option<PathBuf>, control: ControlSocket) -> anyhow::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper")?;
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
            mask.add(signal);
        }
        mask.thread_block().context("cannot block signals")?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("cannot make a signalfd")?;
        let poller = Poller::new().context("cannot make an epoll instance")?;
        poller.add(&signals, Watched::Signals).context("cannot watch signals")?;
        poller.add(&control, Watched::Control).context("cannot watch the control socket")?;
        let Config { serve, tenants } = config;
        let uids = match Standing::of_caller(*serve.uids.end())? {
            Standing::Root => Some(Uids::new(serve.uids.clone(), uids::in_use())),
            Standing::Rootless => None,
        };
        let metrics = serve.metrics.clone();
        let metrics = metrics.map(|config| MetricsProcess::new(config, control.path().into()));
        let mut manager = Manager {
            poller,
            signals,
            control,
            clients: Clients::default(),
            notifier: Notifier::new(),
            metrics,
            members: BTreeMap::new(),
            runs: HashMap::new(),
            uids,
            serial: 0,
            start: Instant::now(),
            file,
            serve,
            ending: None,
        };
        tenants.into_iter().for_each(|tenant| manager.add(tenant, true));
        Ok(manager)
    }

    /// Runs until a signal ends the service and all tenants have ended.
    ///
    /// # Errors
    /// If it cannot wait for events. The tenants are killed then.
    pub fn run(mut self) -> anyhow::Result<()> {
        self.advance();
        self.notifier.notify(&[NotifyState::Ready]);
        let result = self.serve();
        // Removes the socket first, so that no client finds a service that is shutting down.
        let Manager { control, members, metrics, .. } = self;
        drop((control, members, metrics));
        end_helpers();
        result
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let mut ready = Vec::new();
        while !self.is_over() {
            let timeout = self.due().map(|due| due.saturating_sub(self.now()));
            self.poller.wait(timeout, &mut ready).context("epoll_wait")?;
            for watched in ready.drain(..) {
                self.handle(watched);
            }
            self.advance();
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn is_over(&self) -> bool {
        let Some(end) = self.ending else { return false };
        let live = self.members.values().any(|member| member.life.is_live());
        if live && self.now() >= end + KILL_TIMEOUT {
            warn!(event = "service_end", "some tenants do not end; giving up on them");
            return true;
        }
        !live
    }

    /// When the next call of `advance` has an effect.
    fn due(&self) -> Option<Duration> {
        let lives = self.members.values().filter_map(|member| member.life.due());
        let answers = self.members.values().filter_map(|member| member.link.as_ref()?.1.answer_until());
        let queued = self.members.values().any(|member| member.life.state() == State::Queued);
        let starts =
            self.starting().map(|since| since + SLOW_START).filter(|_| queued && self.ending.is_none());
        let end =
            self.ending.into_iter().flat_map(|end| [end, end + KILL_TIMEOUT]).filter(|end| *end > self.now());
        let metrics = self.metrics.as_ref().and_then(MetricsProcess::due);
        let others = self.clients.due().into_iter().chain(self.notifier.due()).chain(metrics);
        lives.chain(answers).chain(starts).chain(end).chain(others).min()
    }

    fn handle(&mut self, watched: Watched) {
        match watched {
            Watched::Signals => self.read_signals(),
            Watched::Control => {
                let (now, serial) = (self.now(), &mut self.serial);
                self.clients.accept(&self.control, &self.poller, || next(serial), now);
            }
            Watched::Client(serial) => self.serve_client(serial),
            Watched::Link(serial) => self.read_events(serial),
            Watched::Broker(serial) => self.broker_ended(serial),
            Watched::Spawner(serial) => self.spawner_ended(serial),
            Watched::Metrics => {
                let now = self.now();
                self.metrics.iter_mut().for_each(|process| process.ended(now));
            }
        }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match Signal::try_from(signal.ssi_signo.cast_signed()) {
                Ok(Signal::SIGHUP) => self.reload(),
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.shut_down(),
                _ => {}
            }
        }
        reap();
    }

    /// Begins the orderly shutdown. A second signal ends it at once.
    fn shut_down(&mut self) {
        let bound = if self.ending.is_some() { Duration::ZERO } else { self.serve.shutdown };
        info!(event = "service_end", tenants = self.members.len(), "the service was asked to end");
        self.notifier.notify(&[NotifyState::Stopping]);
        let now = self.now();
        self.ending = Some(now + bound);
        for name in self.names() {
            let grace = self.members.get(&name).map_or(Duration::ZERO, |member| member.config.stop_grace);
            // Of the available time, half is for stop signals, and a quarter for brokers to kill what
            // remains.
            let pace = Pace { grace: grace.min(bound / 2), patience: PATIENCE.min(bound / 4) };
            self.step(&name, Event::Stop(pace));
        }
    }

    /// Does what is due: for tenants, clients and the watchdog.
    fn advance(&mut self) {
        let now = self.now();
        for name in self.names() {
            self.step(&name, Event::Time);
        }
        self.force_silent();
        match self.ending {
            Some(end) if now >= end => self.members.values_mut().for_each(Member::force),
            Some(_) => {}
            None => self.launch_queued(),
        }
        self.members.retain(|_, member| member.life.is_live() || !member.leaving);
        self.clients.drop_silent(now);
        self.metrics.iter_mut().for_each(|process| process.advance(now, &self.poller));
        self.notifier.feed_watchdog(now);
        self.notifier.set_status(self.summary());
    }

    fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }
}

/// A new number.
fn next(serial: &mut u32) -> u32 {
    *serial = serial.wrapping_add(1);
    *serial
}

/// Reaps brokers and the orphans of killed brokers. Their pidfds have reported their ends. Returns whether
/// any child is left.
fn reap() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Waits for the last helpers, which exit by themselves. Kills those that do not.
fn end_helpers() {
    /// Helpers exit within milliseconds, but the machine may be busy.
    const PATIENCE: Duration = Duration::from_millis(500);
    let begin = Instant::now();
    while reap() && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Err(survivors) = end_children(None, AGAIN_TIME, |_| true) {
        warn!(event = "processes_left", "{survivors}");
    }
}
