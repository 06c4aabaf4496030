//! The broker: one thread, one event loop, for the tenant of one run.

pub mod clock;
mod finish;
pub mod process;
mod publish;
pub mod report;
mod start;

pub use start::StartError;

use crate::front;
use crate::front::messages::{FrontEvent, FrontOrder};
use crate::kcov::arena_table::SWEEP;
use crate::launch::Launch;
use crate::live::publisher::Publisher;
use crate::processes::spawner::message::{TenderEvent, TenderOrder};
use crate::sys::pidfd;
use crate::sys::poller::Poller;
use crate::sys::socket::{Channel, ChannelError};
use crate::tenant::Tenant;
use crate::tenant::error::{TenantError, system};
use crate::tenant::token::Token;
use clock::Clock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use report::{Report, Usage};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::{debug, error, warn};

/// The broker of one run.
pub struct Broker {
    tenant: Tenant,
    poller: Rc<Poller<Token>>,
    front: Option<Channel>,
    front_process: OwnedFd,
    tender: Channel,
    /// Exit status of the command, once it ended.
    status: Option<u8>,
    /// No process of the tenant is left.
    gone: bool,
    /// What the tender was asked and has not answered.
    asked: Option<Asked>,
    /// Whether the front asked for the end of the command: the end of the run must not take long.
    was_told: bool,
    /// Whether the front knows that processes cannot be ended.
    named: bool,
    start: Usage,
    last_look: Instant,
    clock: Clock,
    publisher: Option<Publisher>,
}

/// An order to the tender that has no answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// Time that it has left.
    left: Duration,
}

impl Asked {
    /// Longest that the tender may take to send a signal.
    const SIGNAL: Duration = Duration::from_millis(1500);
    /// Longest that it may take to kill all processes of the tenant: it gives up earlier.
    const KILL: Duration = Duration::from_millis(2500);
    /// Longest step of its clock. A frozen control group must not count.
    const STEP: Duration = Duration::from_millis(200);
}

impl Broker {
    /// Serves until no process of the tenant is left.
    ///
    /// # Errors
    /// If the tenant cannot be served any longer.
    pub fn run(&mut self) -> Result<(), TenantError> {
        let mut ready = Vec::new();
        while !self.gone {
            let pace = self.tenant.pace();
            let pace = if self.tenant.has_no_files() { pace } else { pace.min(SWEEP) };
            self.clock.pace(pace).map_err(system("timerfd_settime"))?;
            self.poller.wait(None, &mut ready).map_err(system("epoll_wait"))?;
            for token in ready.drain(..) {
                self.handle(token)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, token: Token) -> Result<(), TenantError> {
        match token {
            Token::Front => self.front_readable(),
            Token::Tender => self.tender_readable(),
            Token::Zygote => self.tenant.zygote_readable()?,
            Token::Spawner => self.tenant.spawner_readable()?,
            Token::Clock => self.tick()?,
            Token::Worker(index) => drop(self.tenant.worker_readable(index)),
            Token::WorkerEnd(index) => self.tenant.worker_ended(index)?,
            Token::WorkerOutput(index) => self.tenant.worker_output_readable(index),
            Token::Artifact => self.tenant.artifact_writer_ended(),
            Token::Reader(index) => drop(self.tenant.reader_readable(index)),
            Token::ReaderEnd(index) => self.tenant.reader_ended(index),
            Token::Owner(tid) => self.tenant.owner_ended(tid),
        }
        Ok(())
    }

    /// The clock ticks: sweeps, and looks at everything if it is time to.
    fn tick(&mut self) -> Result<(), TenantError> {
        self.clock.take();
        let now = Instant::now();
        self.tenant.sweep(now)?;
        let elapsed = now.duration_since(self.last_look);
        if elapsed >= self.tenant.pace() {
            self.last_look = now;
            self.look_at_tender(elapsed);
            self.tenant.look(now);
            self.publish();
        }
        Ok(())
    }

    /// Kills a tender that does not answer. Its children become those of the spawner.
    fn look_at_tender(&mut self, elapsed: Duration) {
        let Some(asked) = &mut self.asked else { return };
        asked.left = asked.left.saturating_sub(elapsed.min(Asked::STEP));
        if asked.left.is_zero() {
            self.asked = None;
            error!(event = "tender_stuck", "the tender (kcov-tender) does not answer; killing it");
            self.tenant.kill_tender();
        }
    }

    /// Gives the tender an order that it must answer within `limit`.
    fn ask_tender(&mut self, order: TenderOrder, limit: Duration) {
        self.tenant.wake_tender();
        // A tender that takes no order does not answer either, and the end of one that is gone is an event of its own.
        let _ = self.tender.try_send(&order, &[]);
        self.asked = Some(Asked { left: self.asked.map_or(limit, |asked| asked.left.min(limit)) });
    }

    /// Shows the operator the tenant's counters.
    fn publish(&self) {
        if let Some(publisher) = &self.publisher {
            publish::publish(publisher, &self.tenant);
        }
    }

    fn front_readable(&mut self) {
        let Some(front) = &mut self.front else { return };
        match front.try_receive::<FrontOrder>() {
            Ok((FrontOrder::Signal(number), _)) => {
                self.was_told |= number == 0 || front::ENDING.contains(&number);
                self.ask_tender(TenderOrder::Signal(number), Asked::SIGNAL);
            }
            Ok((FrontOrder::Kill, _)) => self.kill_tenant(),
            Err(ChannelError::WouldBlock) => {}
            Err(_) => {
                self.poller.remove(&*front);
                self.front = None;
                if self.status.is_none() || self.tenant.launch().ends_as_one() {
                    warn!("the front was killed; ending its tenant");
                    self.kill_tenant();
                }
            }
        }
    }

    fn kill_tenant(&mut self) {
        self.asked = None;
        self.ask_tender(TenderOrder::Kill, Asked::KILL);
    }

    /// Sends an event to the front, if it is there.
    pub fn tell_front(&mut self, event: &FrontEvent) {
        if let Some(front) = &mut self.front {
            // The end of the front is an event of its own.
            let _ = front.try_send(event, &[]);
        }
    }

    fn tender_readable(&mut self) {
        match self.tender.try_receive::<TenderEvent>() {
            Ok((TenderEvent::Stopped(signal), _)) => {
                debug!(signal, "the command stopped");
                self.tell_front(&FrontEvent::Stopped);
            }
            // The front is stopped and cannot be told. The shell, or another process that continued the command, need not
            // have continued the front as well.
            Ok((TenderEvent::Continued, _)) => {
                let _ = pidfd::send_signal(self.front_process.as_fd(), Signal::SIGCONT);
            }
            Ok((TenderEvent::Ended { status }, _)) => {
                self.status = Some(status);
                // Processes left behind are served on. The front does not wait for them, unless the end is near anyway.
                if self.tenant.launch().ends_as_one() {
                    self.kill_tenant();
                } else if !self.is_last() {
                    self.tell_front(&FrontEvent::Ended { status, last: false });
                }
            }
            Ok((TenderEvent::Failed { errno, exec, step }, _)) => {
                let command = self.tenant.launch().program.to_string_lossy().into_owned();
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
            Ok((TenderEvent::Signalled, _)) => {
                self.asked = None;
                self.tell_front(&FrontEvent::Signalled);
            }
            Ok((TenderEvent::Gone, _)) => self.gone = true,
            Ok((TenderEvent::Left { message }, _)) => {
                self.name_survivors(message);
                self.gone = true;
            }
            Ok((TenderEvent::Placed { .. } | TenderEvent::Listening, _)) | Err(ChannelError::WouldBlock) => {}
            Err(_) => self.tender_died(),
        }
    }

    /// Whose rights an exec lacked, if that is another user than the one who starts tenants.
    fn whose_rights(&self, errno: i32) -> String {
        let service = self.tenant.launch().service.as_ref();
        match service.and_then(|service| service.identity.as_ref()) {
            Some(identity) if errno == libc::EACCES => {
                let uid = identity.uid;
                format!(" to uid {uid}: let its user reach the directories above and execute the file")
            }
            _ => String::new(),
        }
    }

    /// Processes of the tenant cannot be ended. The front must know, because the run ends without them.
    fn name_survivors(&mut self, message: String) {
        self.named = true;
        if self.status.is_some() && !self.tenant.launch().ends_as_one() {
            warn!(event = "processes_left", "{message}");
            return;
        }
        self.tell_front(&FrontEvent::Failed {
            message,
            status: self.status.unwrap_or(crate::front::BROKER_FAILED),
        });
    }

    /// The tender was killed. Its children are the spawner's now, which ends them with this process.
    fn tender_died(&mut self) {
        error!(event = "tender_crash", "tender killed; ending its tenant");
        if self.status.is_none() {
            let message = "its tender (kcov-tender) was killed, so the command ends".to_owned();
            self.tell_front(&FrontEvent::Failed { message, status: crate::front::BROKER_FAILED });
        }
        self.gone = true;
    }

    /// Whether the tender reports at once that no process is left.
    fn is_last(&mut self) -> bool {
        /// Milliseconds within which the tender reports the last process, if the command was the last.
        const GRACE: u16 = 20;
        let mut fds = [PollFd::new(self.tender.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut fds, PollTimeout::from(GRACE)), Ok(1..)) {
            self.tender_readable();
        }
        self.gone
    }

    /// Ends a tenant that cannot be served any longer.
    pub fn abort(&mut self, error: &TenantError) {
        self.kill_tenant();
        self.tell_front(&FrontEvent::Failed { message: error.to_string(), status: 125 });
    }
}
