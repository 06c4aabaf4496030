//! The broker: one thread, one event loop, for the tenant of one run.

use crate::arena::Arena;
use crate::arena_table::SWEEP;
use crate::assist::Beside;
use crate::clock::Clock;
use crate::launch::Launch;
use crate::poller::{Poller, Token};
use crate::registry::Registry;
use crate::report::{Counters, Report, Usage};
use crate::spawner::message::{Start, TenderEvent, TenderOrder};
use crate::spawner_client::{SpawnerClient, end, receive_within};
use crate::sys::descriptor::Tables;
use crate::sys::pidfd;
use crate::sys::socket::{self, Channel, ChannelError};
use crate::tenant::{Tenant, TenantError, system};
use kcov_proto::message::{Assist, AssistReply, ZygoteReply};
use kcov_proto::slot::{self, Phase};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::{debug, error, warn};

/// Longest that the steps of the start may take, milliseconds.
const START: u16 = 30_000;

/// What the broker tells the front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontEvent {
    /// The command stopped: so does the job.
    Stopped,
    /// The command ended. `last`: so did all else, and the broker is about to.
    Ended {
        /// Exit status as shells give it.
        status: u8,
        /// Whether the broker ends too.
        last: bool,
    },
    /// The command could not be run: what to say, and the exit status.
    Failed {
        /// The message.
        message: String,
        /// Exit status.
        status: u8,
    },
}

/// What the front tells the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontOrder {
    /// Send this signal to the command.
    Signal(i32),
}

/// The command did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The broker's side failed.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// A step of the tender failed.
    #[error("{step}: {errno}")]
    Step {
        /// Which.
        step: String,
        /// The errno.
        errno: nix::errno::Errno,
    },
    /// A step of the tender took too long.
    #[error("the tenant does not start within {} s", START / 1000)]
    Slow,
    /// The tender is gone.
    #[error("the tender is gone")]
    Tender,
}

/// The broker of one run.
pub struct Broker {
    tenant: Tenant,
    poller: Rc<Poller>,
    front: Option<Channel>,
    front_process: OwnedFd,
    tender: Channel,
    status: Option<u8>,
    gone: bool,
    start: Usage,
    deadline: Duration,
    last_tick: Instant,
    clock: Clock,
}

fn tender_event(tender: &mut Channel) -> Result<(TenderEvent, Vec<OwnedFd>), StartError> {
    match receive_within::<TenderEvent>(tender, START) {
        Ok((TenderEvent::Failed { step, errno, .. }, _)) => {
            Err(StartError::Step { step, errno: nix::errno::Errno::from_raw(errno) })
        }
        Ok(event) => Ok(event),
        Err(ChannelError::WouldBlock) => Err(StartError::Slow),
        Err(_) => Err(StartError::Tender),
    }
}

impl Broker {
    /// Starts the tenant, up to the exec of the command.
    ///
    /// # Errors
    /// If any step fails; nothing of it is left then, once this process ends.
    pub fn start(
        launch: Rc<Launch>,
        mut spawner: SpawnerClient,
        front: Channel,
        front_process: OwnedFd,
    ) -> Result<Self, StartError> {
        let poller = Rc::new(Poller::new().map_err(system("making an epoll instance"))?);
        let (ours, theirs) = socket::pair().map_err(TenantError::from)?;
        let tender = spawner.start(&Start::Tender, &[&theirs]).map_err(TenantError::from)?;
        drop(theirs);
        let mut tender_channel = Channel::from(ours);
        let (placed, _) = tender_event(&mut tender_channel)?;
        let TenderEvent::Placed { placeholders, notes } = placed else { return Err(StartError::Tender) };
        for note in notes {
            debug!("placeholder: {note}");
        }

        let (ours, theirs) = socket::pair().map_err(TenantError::from)?;
        let zygote = spawner.start(&Start::Zygote, &[&theirs]).map_err(TenantError::from)?;
        drop(theirs);
        let mut zygote_channel = Channel::from(ours);
        let program = launch.worker.to_string_lossy().into_owned();
        match receive_within::<ZygoteReply>(&mut zygote_channel, START) {
            Ok((ZygoteReply::Ready, _)) => {}
            Ok((other, _)) => return Err(TenantError::Zygote(program, format!("it says {other:?}")).into()),
            Err(error) => return Err(TenantError::Zygote(program, error.to_string()).into()),
        }

        tender_channel.send(&TenderOrder::Go, &[]).map_err(TenantError::from)?;
        let (event, mut fds) = tender_event(&mut tender_channel)?;
        let (TenderEvent::Listening, Some(listener)) = (event, fds.pop()) else {
            return Err(StartError::Tender);
        };
        if let Err(errno) = crate::sys::filter::set_sync_wake_up(listener.as_fd()) {
            warn!(%errno, "no SYNC_WAKE_UP (Linux 6.6): round trips may take 20 times as long");
        }
        let (registry, roster) =
            Registry::new(launch.quotas, launch.extensions).map_err(system("making the registry"))?;

        poller.add(&front, Token::Front).map_err(system("watching the front"))?;
        poller.add(&tender_channel, Token::Tender).map_err(system("watching the tender"))?;
        poller.add(&zygote_channel, Token::Zygote).map_err(system("watching the zygote"))?;
        poller.add(&spawner, Token::Spawner).map_err(system("watching the spawner"))?;
        let clock = Clock::new().map_err(system("timerfd_create"))?;
        poller.add(&clock, Token::Clock).map_err(system("watching the clock"))?;
        let deadline = launch.deadline;
        let mut tenant = Tenant {
            launch,
            poller: poller.clone(),
            spawner,
            tender,
            placeholders,
            listener,
            registry,
            roster,
            zygote,
            zygote_channel,
            workers: Default::default(),
            expected: None,
            next_worker: 0,
            readers: Default::default(),
            next_reader: 0,
            stillborn: 0,
            counters: Counters::default(),
            tables: Tables::default(),
        };
        tenant.start_worker()?;
        Ok(Broker {
            tenant,
            poller,
            front: Some(front),
            front_process,
            tender: tender_channel,
            status: None,
            gone: false,
            start: Usage::now(),
            deadline,
            last_tick: Instant::now(),
            clock,
        })
    }

    /// Serves until no process of the tenant is left.
    ///
    /// # Errors
    /// If the tenant cannot be served any longer; it is ended then.
    pub fn run(&mut self) -> Result<(), TenantError> {
        let mut ready = Vec::new();
        while !self.gone {
            let pace = if self.tenant.registry.is_empty() { self.tick() } else { self.tick().min(SWEEP) };
            self.clock.pace(pace).map_err(system("timerfd_settime"))?;
            self.poller.wait(None, &mut ready).map_err(system("epoll_wait"))?;
            for token in ready.drain(..) {
                self.handle(token)?;
            }
        }
        Ok(())
    }

    /// How often workers are looked at.
    fn tick(&self) -> Duration {
        (self.deadline / 8).clamp(Duration::from_millis(5), Duration::from_millis(100))
    }

    /// The clock ticks: looks at what nobody reports.
    fn clock_ticks(&mut self) {
        self.clock.take();
        self.tenant.registry.sweep(false);
        self.tenant.drop_gone();
        let now = Instant::now();
        if now.duration_since(self.last_tick) >= self.tick() {
            self.last_tick = now;
            self.look_at_workers(now);
            self.tenant.registry.sweep_execs();
            self.tenant.settle_up();
        }
    }

    fn handle(&mut self, token: Token) -> Result<(), TenantError> {
        match token {
            Token::Front => self.front_speaks(),
            Token::Tender => self.tender_speaks(),
            Token::Zygote => self.zygote_speaks()?,
            Token::Spawner => {
                self.poller.remove(&self.tenant.spawner);
                error!("the spawner is gone: no worker can be replaced any more");
            }
            Token::Clock => self.clock_ticks(),
            Token::Worker(index) => drop(self.worker_speaks(index)),
            Token::WorkerEnd(index) => self.worker_ended(index)?,
            Token::Reader(index) => drop(self.tenant.reader_speaks(index)),
            Token::ReaderEnd(index) => self.tenant.reader_ended(index),
            Token::Owner(tid) => {
                self.tenant.registry.owner_died(tid);
                self.tenant.settle_up();
            }
        }
        Ok(())
    }

    fn front_speaks(&mut self) {
        let Some(front) = &mut self.front else { return };
        match front.try_receive::<FrontOrder>() {
            Ok((FrontOrder::Signal(number), _)) => {
                if self.tender.try_send(&TenderOrder::Signal(number), &[]).is_err() {
                    warn!(signal = number, "a signal could not be passed on");
                }
            }
            Err(ChannelError::WouldBlock) => {}
            Err(_) => {
                self.poller.remove(&*front);
                self.front = None;
                if self.status.is_none() {
                    warn!("the front was killed: the tenant ends");
                    let _ = self.tender.try_send(&TenderOrder::Kill, &[]);
                }
            }
        }
    }

    fn tell_front(&mut self, event: &FrontEvent) {
        if let Some(front) = &mut self.front {
            // A front that is gone needs no telling; its end is an event of its own.
            let _ = front.try_send(event, &[]);
        }
    }

    fn tender_speaks(&mut self) {
        match self.tender.try_receive::<TenderEvent>() {
            Ok((TenderEvent::Stopped(signal), _)) => {
                debug!(signal, "the command stopped");
                self.tell_front(&FrontEvent::Stopped);
            }
            // The front cannot be told: it is stopped. The shell, or whoever continued the command, need not have
            // continued it as well.
            Ok((TenderEvent::Continued, _)) => {
                let _ = pidfd::send_signal(self.front_process.as_fd(), Signal::SIGCONT);
            }
            Ok((TenderEvent::Ended { status }, _)) => {
                self.status = Some(status);
                // What is left behind goes on, and is served; the front need not wait for it, unless it is about to
                // be all over.
                if !self.is_last() {
                    self.tell_front(&FrontEvent::Ended { status, last: false });
                }
            }
            Ok((TenderEvent::Failed { errno, exec, step }, _)) => {
                let command = self.tenant.launch.program.to_string_lossy().into_owned();
                let reason = nix::errno::Errno::from_raw(errno).desc();
                let message = if exec { format!("{command}: {reason}") } else { format!("{step}: {reason}") };
                let status = if errno == libc::ENOENT { 127 } else { 126 };
                self.status = Some(status);
                self.tell_front(&FrontEvent::Failed { message, status });
            }
            Ok((TenderEvent::Gone, _)) => self.gone = true,
            Ok((TenderEvent::Placed { .. } | TenderEvent::Listening, _)) | Err(ChannelError::WouldBlock) => {}
            Err(error) => {
                error!(%error, "the tender is gone: nobody can end the tenant any more");
                self.gone = true;
            }
        }
    }

    /// Whether the tender says at once that nobody is left.
    fn is_last(&mut self) -> bool {
        /// The tender reaps on: its next word follows within this many milliseconds, if it is the last.
        const GRACE: u16 = 20;
        let mut fds = [PollFd::new(self.tender.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut fds, PollTimeout::from(GRACE)), Ok(1..)) {
            self.tender_speaks();
        }
        self.gone
    }

    fn zygote_speaks(&mut self) -> Result<(), TenantError> {
        match self.tenant.zygote_channel.try_receive::<ZygoteReply>() {
            Ok((ZygoteReply::Forked { pid }, _)) => self.tenant.worker_forked(pid)?,
            Ok((ZygoteReply::Exited { pid, signal, status }, _)) => {
                debug!(event = "worker_exit", pid, signal, status, "worker reaped");
            }
            Ok((ZygoteReply::Failed(errno), _)) => {
                warn!(%errno, "the zygote cannot fork a worker");
                self.tenant.expected = None;
                self.tenant.worker_failed_to_start()?;
            }
            Ok((ZygoteReply::Ready, _)) | Err(ChannelError::WouldBlock) => {}
            Err(error) => {
                warn!(event = "zygote_crash", %error, "the zygote is gone: a new one starts");
                self.restart_zygote()?;
            }
        }
        Ok(())
    }

    fn restart_zygote(&mut self) -> Result<(), TenantError> {
        let tenant = &mut self.tenant;
        self.poller.remove(&tenant.zygote_channel);
        let _ = pidfd::send_signal(tenant.zygote.pidfd.as_fd(), Signal::SIGKILL);
        let (ours, theirs) = socket::pair()?;
        tenant.zygote = tenant.spawner.start(&Start::Zygote, &[&theirs])?;
        drop(theirs);
        tenant.zygote_channel = Channel::from(ours);
        self.poller.add(&tenant.zygote_channel, Token::Zygote).map_err(system("watching the zygote"))?;
        // Its workers die with it; their ends start new ones. One that was only expected is asked for anew.
        if tenant.expected.take().is_some() {
            tenant.worker_failed_to_start()?;
        }
        Ok(())
    }

    /// Takes one request of a worker. Says whether there was one.
    fn worker_speaks(&mut self, index: u32) -> bool {
        let Some(worker) = self.tenant.workers.get_mut(&index) else { return false };
        let assist = match worker.channel.try_receive_bare::<Assist>() {
            Ok(assist) => assist,
            Err(ChannelError::WouldBlock) => return false,
            Err(ChannelError::Closed) => {
                // Its end follows, and is handled then; one that lives on is ended with the next look.
                self.poller.remove(&worker.channel);
                worker.hung_up = true;
                return false;
            }
            Err(error) => {
                warn!(%error, "a worker sent what is no request");
                worker.kill("it sent what is no request");
                return false;
            }
        };
        match self.tenant.assist(index, assist) {
            Ok(None) => {}
            Ok(Some((reply, beside))) => self.reply(index, &reply, &beside),
            Err(fault) => {
                warn!(fault = fault.0, "a worker broke the rules");
                if let Some(worker) = self.tenant.workers.get_mut(&index) {
                    worker.kill(fault.0);
                }
            }
        }
        true
    }

    fn reply(&mut self, index: u32, reply: &AssistReply, beside: &Beside) {
        let Tenant { workers, registry, .. } = &mut self.tenant;
        let Some(worker) = workers.get_mut(&index) else { return };
        let file = match beside {
            Beside::Nothing => None,
            Beside::Arena(id) => registry.arenas().get(*id).map(Arena::file),
            Beside::Socket(socket) => Some(socket.as_fd()),
        };
        let sent = match &file {
            None => worker.channel.try_send_bare(reply),
            Some(file) => worker.channel.try_send(reply, &[file]),
        };
        match sent {
            Ok(()) => {}
            Err(ChannelError::Closed) => worker.hung_up = true,
            Err(_) => worker.kill("it does not take its replies"),
        }
    }

    fn worker_ended(&mut self, index: u32) -> Result<(), TenantError> {
        // What it asked for before it died is still to be done, and its callers to be answered.
        while self.worker_speaks(index) {}
        let Some(worker) = self.tenant.workers.remove(&index) else { return Ok(()) };
        self.poller.remove(&worker.channel);
        self.tenant.count(&worker);
        if self.gone || self.tenant.is_unused() {
            // A worker ends by itself when nobody is left to serve.
            return Ok(());
        }
        self.tenant.answer_for_dead(&worker);
        let in_flight = worker.word(slot::ID) != 0;
        let (arch, number) = worker.alleged_call();
        let call = if in_flight { crate::call_name::of(arch, number) } else { "none".to_owned() };
        let signal = worker.end_signal();
        let reason = worker.killed.unwrap_or("not by the broker");
        let tid = worker.word(slot::PID) as u32;
        warn!(event = "worker_crash", worker = worker.pid, tid, call, signal, reason, "a worker ended");
        self.tenant.counters.worker_crashes += 1;
        match worker.phase {
            crate::permit::Phase::Starting => self.tenant.worker_failed_to_start(),
            crate::permit::Phase::Serving { .. } => self.tenant.start_worker(),
        }
    }

    /// Ends what is stuck: a reader first, as the worker may only be waiting for it.
    fn look_at_workers(&mut self, now: Instant) {
        let deadline = self.deadline;
        let reader_killed = self.tenant.look_at_readers(now, deadline, self.tick());
        let waiting = self.tenant.listener_says(PollFlags::POLLIN);
        for worker in self.tenant.workers.values_mut() {
            if worker.hung_up {
                worker.kill("it closed its socket");
                continue;
            }
            if worker.stalled(now) < self.deadline {
                continue;
            }
            match Phase::from_word(worker.word(slot::PHASE)) {
                // Idle, unless callers wait that it does not take.
                Some(Phase::Waiting) if !waiting => {}
                // Its reader was just ended: the worker has to get over that.
                Some(Phase::Reading) if reader_killed => worker.reader_killed(),
                _ => worker.kill("it was past its deadline"),
            }
        }
    }

    /// Ends the helpers. Returns the report.
    pub fn finish(&mut self) -> Report {
        let workers: Vec<u32> = self.tenant.workers.keys().copied().collect();
        self.settle_registry();
        for index in workers {
            if let Some(mut worker) = self.tenant.workers.remove(&index) {
                worker.kill("the run is over");
                let _ = pidfd::wait_dead(worker.pidfd.as_fd(), 1000);
                self.poller.remove(&worker.channel);
                self.tenant.count(&worker);
            }
        }
        end(&self.tenant.zygote);
        self.report()
    }

    /// Lets go of the helpers and gives the front the last word.
    pub fn say_farewell(self) {
        let Broker { tenant, front, tender, status, .. } = self;
        drop(tender);
        tenant.end();
        if let (Some(mut front), Some(status)) = (front, status) {
            // A front that is gone needs no telling.
            let _ = front.try_send(&FrontEvent::Ended { status, last: true }, &[]);
        }
    }

    /// After the last process: its threads' ends and its descriptors' closes are on their way to us.
    fn settle_registry(&mut self) {
        const PATIENCE: Duration = Duration::from_millis(500);
        let until = Instant::now() + PATIENCE;
        let mut ready = Vec::new();
        while self.tenant.registry.instances() > 0 && Instant::now() < until {
            if self.poller.wait(Some(Duration::from_millis(1)), &mut ready).is_err() {
                return;
            }
            for token in ready.drain(..) {
                if let Token::Owner(tid) = token {
                    self.tenant.registry.owner_died(tid);
                }
            }
            self.tenant.registry.sweep(true);
            self.tenant.drop_gone();
        }
    }

    fn report(&self) -> Report {
        let Counters { assists, workers_started, worker_crashes, notifications, records, records_lost } =
            self.tenant.counters;
        let registry = &self.tenant.registry;
        let end = Usage::now();
        Report {
            instances_live: registry.instances(),
            instances_opened: registry.opened(),
            handles_live: registry.handles(),
            tasks_live: registry.owners(),
            arena_bytes: registry.bytes(),
            notifications,
            assists,
            records,
            records_lost,
            worker_crashes,
            workers_started,
            open_fds_start: self.start.fds,
            open_fds_end: end.fds,
            rss_start_kib: self.start.rss_kib,
            rss_end_kib: end.rss_kib,
        }
    }

    /// Ends the tenant, which cannot be served any longer.
    pub fn abort(&mut self, error: &TenantError) {
        let _ = self.tender.try_send(&TenderOrder::Kill, &[]);
        self.tell_front(&FrontEvent::Failed { message: error.to_string(), status: 125 });
    }
}
