//! The broker: one thread, one event loop, for the tenant of one run.

pub mod clock;
mod finish;
pub mod poller;
pub mod process;
mod publish;
pub mod report;
mod start;
mod supervision;

pub use start::StartError;

use crate::broker::clock::Clock;
use crate::broker::poller::{Poller, Token};
use crate::broker::report::{Counters, Report, Usage};
use crate::front::messages::{FrontEvent, FrontOrder};
use crate::kcov::arena::Arena;
use crate::kcov::arena_table::SWEEP;
use crate::kcov::registry::Registry;
use crate::launch::Launch;
use crate::live::publisher::Publisher;
use crate::processes::spawner::message::{Start, TenderEvent, TenderOrder};
use crate::processes::spawner_client::{SpawnerClient, end, receive_within};
use crate::sys::descriptor::Tables;
use crate::sys::pidfd;
use crate::sys::socket::{self, Channel, ChannelError};
use crate::tenant::assist::Beside;
use crate::tenant::worker_process::WorkerProcess;
use crate::tenant::{Tenant, TenantError, system};
use kcov_proto::message::{Assist, AssistReply, ZygoteReply};
use kcov_proto::slot::{self, Phase};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::{debug, error, warn};

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
    publisher: Option<Publisher>,
}

impl Broker {
    /// Serves until no process of the tenant is left.
    ///
    /// # Errors
    /// If the tenant cannot be served any longer; it is ended then.
    pub fn run(&mut self) -> Result<(), TenantError> {
        let mut ready = Vec::new();
        while !self.gone {
            let pace = if self.tenant.has_no_files() { self.tick() } else { self.tick().min(SWEEP) };
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
        /// While a worker is asked where it is, or the next one is held up: callers wait for that.
        const ASKING: Duration = Duration::from_millis(5);
        let asks = self.tenant.workers.values().any(WorkerProcess::is_asked);
        if asks || self.tenant.start_due.is_some() { ASKING } else { self.patience() }
    }

    /// How long a reader may be slow before another one takes over what waits for it.
    fn patience(&self) -> Duration {
        (self.deadline / 8).clamp(Duration::from_millis(5), Duration::from_millis(100))
    }

    /// The clock ticks: looks at what nobody reports.
    fn clock_ticks(&mut self) -> Result<(), TenantError> {
        self.clock.take();
        self.tenant.registry.sweep(false);
        self.tenant.drop_gone();
        self.tenant.sweep_files(false);
        // Each costs a descriptor, and most of these threads may be gone.
        self.tenant.tables.clear();
        let now = Instant::now();
        self.tenant.start_due_worker(now)?;
        if now.duration_since(self.last_tick) >= self.tick() {
            self.last_tick = now;
            self.look_at_workers(now);
            self.tenant.registry.sweep_execs();
            self.tenant.settle_up();
            self.tenant.count_sightings(now);
            self.tenant.tell_refusals(now);
            self.tenant.tell_untold_crashes(now);
            self.publish();
        }
        Ok(())
    }

    /// Shows the operator how things stand.
    fn publish(&self) {
        if let Some(publisher) = &self.publisher {
            publish::publish(publisher, &self.tenant);
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
            Token::Clock => self.clock_ticks()?,
            Token::Worker(index) => drop(self.worker_speaks(index)),
            Token::WorkerEnd(index) => self.worker_ended(index)?,
            Token::WorkerOutput(index) => self.worker_writes(index),
            Token::Artifact => self.tenant.artifact_written(),
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
            Ok((FrontOrder::Kill, _)) => self.kill_tenant(),
            Err(ChannelError::WouldBlock) => {}
            Err(_) => {
                self.poller.remove(&*front);
                self.front = None;
                if self.status.is_none() || self.tenant.launch.ends_as_one() {
                    warn!("the front was killed: the tenant ends");
                    self.kill_tenant();
                }
            }
        }
    }

    fn kill_tenant(&mut self) {
        // A tender that is gone needs no telling.
        let _ = self.tender.try_send(&TenderOrder::Kill, &[]);
    }

    /// Tells the front, if there is one.
    pub fn tell_front(&mut self, event: &FrontEvent) {
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
                if self.tenant.launch.ends_as_one() {
                    self.kill_tenant();
                } else if !self.is_last() {
                    self.tell_front(&FrontEvent::Ended { status, last: false });
                }
            }
            Ok((TenderEvent::Failed { errno, exec, step }, _)) => {
                let command = self.tenant.launch.program.to_string_lossy().into_owned();
                let reason = nix::errno::Errno::from_raw(errno).desc();
                let message = if exec {
                    format!("{command}: {reason}{}", self.whose_rights(errno))
                } else {
                    format!("{step}: {reason}")
                };
                let status = if errno == libc::ENOENT { 127 } else { 126 };
                self.status = Some(status);
                self.tell_front(&FrontEvent::Failed { message, status });
            }
            Ok((TenderEvent::Gone, _)) => self.gone = true,
            Ok((TenderEvent::Placed { .. } | TenderEvent::Listening, _)) | Err(ChannelError::WouldBlock) => {}
            Err(_) => self.tender_died(),
        }
    }

    /// Whose rights an exec lacked, if it is another user than who starts tenants.
    fn whose_rights(&self, errno: i32) -> String {
        let service = self.tenant.launch.service.as_ref();
        match service.and_then(|service| service.identity.as_ref()) {
            Some(identity) if errno == libc::EACCES => {
                let uid = identity.uid;
                format!(" to uid {uid}: let its user reach the directories above and execute the file")
            }
            _ => String::new(),
        }
    }

    /// The tender was killed. What it was the parent of is the spawner's now, which ends it with this process.
    fn tender_died(&mut self) {
        error!(
            event = "tender_crash",
            "the tender was killed, the parent of all of the tenant, which ends with it"
        );
        if self.status.is_none() {
            let message = "its tender was killed, the parent of all of it (kcov-tender)".to_owned();
            self.tell_front(&FrontEvent::Failed { message, status: crate::front::BROKER_FAILED });
        }
        self.gone = true;
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
            // Of a zygote that follows one that ended.
            Ok((ZygoteReply::Ready { claims }, _)) if claims == self.tenant.claims => {
                self.tenant.zygote_ready = true;
            }
            Ok((ZygoteReply::Ready { .. }, _)) => {
                let message = "the handlers claim something else when they are loaded again";
                return Err(TenantError::Handler(message.to_owned()));
            }
            Ok((ZygoteReply::Refused { message }, _)) => return Err(TenantError::Handler(message)),
            Ok((ZygoteReply::Unjailed { message }, _)) => return Err(TenantError::Jail(message)),
            Ok((ZygoteReply::Loading { handler }, _)) => debug!(handler, "loading"),
            Ok((ZygoteReply::Loaded { modules }, _)) => self.tenant.modules = modules,
            Err(ChannelError::WouldBlock) => {}
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
        tenant.counters.zygote_restarts += 1;
        self.poller.add(&tenant.zygote_channel, Token::Zygote).map_err(system("watching the zygote"))?;
        // Its workers die with it; their ends start new ones. One that was only expected is asked for anew; and a zygote
        // that never came so far is as good as one.
        let was_ready = std::mem::take(&mut tenant.zygote_ready);
        if tenant.expected.take().is_some() || !was_ready {
            tenant.worker_failed_to_start()?;
        }
        Ok(())
    }

    /// Ends the tenant, which cannot be served any longer.
    pub fn abort(&mut self, error: &TenantError) {
        self.kill_tenant();
        self.tell_front(&FrontEvent::Failed { message: error.to_string(), status: 125 });
    }
}
