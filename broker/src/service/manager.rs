//! The manager: one thread, one blocking point. It decides nothing itself: a tenant's [`Life`] does.

mod members;
mod orders;
mod reload;

use super::clients::Clients;
use super::exporting::Exporting;
use super::life::{Action, Event, Life, PATIENCE, Pace, State};
use super::link::Link;
use super::notify::Notifier;
use super::uids::{self, Uids};
use super::watch::Watched;
use crate::config::{Config, ServeConfig, TenantConfig};
use crate::launch::rootless::Standing;
use crate::processes::spawner::tender::kill_children;
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

/// Brokers that may be on their way to their command at a time: each takes a processor, and has a deadline to meet.
const STARTS: usize = 16;
/// A start that takes longer waits for something else than a processor, and holds up no others.
const SLOW_START: Duration = Duration::from_secs(2);
/// What is left when an orderly end is over, and was killed, is gone within this time, or will not be.
const LAST: Duration = Duration::from_secs(2);

/// A tenant, and what there is of it.
#[derive(Debug)]
struct Member {
    config: TenantConfig,
    /// Whether it is in the file.
    configured: bool,
    /// Whether it is forgotten once it has ended.
    leaves: bool,
    life: Life,
    link: Option<(u32, Link)>,
    /// That of its last run's workers, with root.
    uid: Option<u32>,
}

/// See the module.
#[derive(Debug)]
pub struct Manager {
    poller: Poller<Watched>,
    signals: SignalFd,
    control: ControlSocket,
    clients: Clients,
    notifier: Notifier,
    exporting: Option<Exporting>,
    members: BTreeMap<String, Member>,
    /// Tenants of the runs that are under way.
    runs: HashMap<u32, String>,
    /// With root.
    uids: Option<Uids>,
    serial: u32,
    start: Instant,
    file: Option<PathBuf>,
    serve: ServeConfig,
    /// When the orderly end is over, if it has begun.
    ending: Option<Duration>,
}

impl Manager {
    /// One that is about to start the tenants of `config`, which `file` says. It takes the signals of this process, which
    /// must have one thread, and the orphans of its descendants.
    ///
    /// # Errors
    /// If something of it cannot be had.
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
        let exporting = serve.metrics.clone().map(|metrics| Exporting::new(metrics, control.path().into()));
        let mut manager = Manager {
            poller,
            signals,
            control,
            clients: Clients::default(),
            notifier: Notifier::new(),
            exporting,
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

    /// Serves until a signal ends it and nothing is left.
    ///
    /// # Errors
    /// If it cannot wait for anything any more; what is left is killed then.
    pub fn run(mut self) -> anyhow::Result<()> {
        self.advance();
        self.notifier.tell(&[NotifyState::Ready]);
        let result = self.serve();
        // The socket first: nobody is to find a service that ends.
        let Manager { control, members, exporting, .. } = self;
        drop((control, members, exporting));
        end_children();
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
        if live && self.now() >= end + LAST {
            warn!(event = "service_end", "some tenants do not end: they are left to be killed");
            return true;
        }
        !live
    }

    /// When time makes a difference next.
    fn due(&self) -> Option<Duration> {
        let lives = self.members.values().filter_map(|member| member.life.due());
        let queued = self.members.values().any(|member| member.life.state() == State::Queued);
        let starts =
            self.starting().map(|since| since + SLOW_START).filter(|_| queued && self.ending.is_none());
        let end = self.ending.into_iter().flat_map(|end| [end, end + LAST]).filter(|end| *end > self.now());
        let exporting = self.exporting.as_ref().and_then(Exporting::due);
        let others = self.clients.due().into_iter().chain(self.notifier.due()).chain(exporting);
        lives.chain(starts).chain(end).chain(others).min()
    }

    fn handle(&mut self, watched: Watched) {
        match watched {
            Watched::Signals => self.signals_came(),
            Watched::Control => {
                let (now, serial) = (self.now(), &mut self.serial);
                self.clients.accept(&self.control, &self.poller, || next(serial), now);
            }
            Watched::Client(serial) => self.client_speaks(serial),
            Watched::Link(serial) => self.link_speaks(serial),
            Watched::Broker(serial) => self.broker_ended(serial),
            Watched::Spawner(serial) => self.spawner_ended(serial),
            Watched::Exporter => {
                let now = self.now();
                self.exporting.iter_mut().for_each(|exporting| exporting.ended(now));
            }
        }
    }

    fn signals_came(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match Signal::try_from(signal.ssi_signo.cast_signed()) {
                Ok(Signal::SIGHUP) => self.reload(),
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.end(),
                _ => {}
            }
        }
        reap();
    }

    /// Begins the orderly end; a second signal allows no time any more.
    fn end(&mut self) {
        let bound = if self.ending.is_some() { Duration::ZERO } else { self.serve.shutdown };
        info!(event = "service_end", tenants = self.members.len(), "the service is told to end");
        self.notifier.tell(&[NotifyState::Stopping]);
        let now = self.now();
        self.ending = Some(now + bound);
        for name in self.names() {
            let grace = self.members.get(&name).map_or(Duration::ZERO, |member| member.config.stop_grace);
            // Of the time that there is, half for those who ask politely, and a quarter for their brokers.
            let pace = Pace { grace: grace.min(bound / 2), patience: PATIENCE.min(bound / 4) };
            self.step(&name, Event::Stop(pace));
        }
    }

    /// Lets time pass: tenants, clients, the watchdog.
    fn advance(&mut self) {
        let now = self.now();
        for name in self.names() {
            self.step(&name, Event::Time);
        }
        match self.ending {
            Some(end) if now >= end => self.members.values_mut().for_each(Member::force),
            Some(_) => {}
            None => self.launch_queued(),
        }
        self.members.retain(|_, member| member.life.is_live() || !member.leaves);
        self.clients.time(now);
        self.exporting.iter_mut().for_each(|exporting| exporting.time(now, &self.poller));
        self.notifier.time(now);
        self.notifier.status(self.summary());
    }

    fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }
}

/// A number that no one had before.
fn next(serial: &mut u32) -> u32 {
    *serial = serial.wrapping_add(1);
    *serial
}

/// Reaps brokers, whose ends are seen by pidfd, and the orphans of those that were killed. Says whether any child is
/// left.
fn reap() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return true,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

/// Waits for the last helpers, which end by themselves; kills those that do not.
fn end_children() {
    /// Helpers end within milliseconds; this is for a machine that is busy.
    const PATIENCE: Duration = Duration::from_millis(500);
    let begin = Instant::now();
    while reap() && begin.elapsed() < LAST {
        if begin.elapsed() > PATIENCE {
            kill_children();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
