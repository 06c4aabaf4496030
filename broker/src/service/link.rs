//! The manager's link to a run of a tenant: the process of its broker, the socket to it, and its spawner,
//! which outlives the broker until all processes of the tenant have ended.

use super::watch::Watched;
use crate::broker::process;
use crate::config::{TenantConfig, errors, probe};
use crate::front;
use crate::front::messages::{FrontEvent, FrontOrder};
use crate::launch::programs::CommandError;
use crate::launch::service;
use crate::processes::ending;
use crate::sandbox::confine;
use crate::sys::fork;
use crate::sys::pidfd;
use crate::sys::poller::Poller;
use crate::sys::process::pidfd_open;
use crate::sys::socket::{self, Channel, ChannelError};
use anyhow::Context;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// Time within which a broker confirms a signal. Its tender has half of that.
const ANSWER: Duration = Duration::from_secs(3);

/// The link to a run.
#[derive(Debug)]
pub struct Link {
    channel: Option<Channel>,
    broker: Option<OwnedFd>,
    spawner: Option<OwnedFd>,
    spawner_pid: u32,
    /// Process id of the broker, only for display.
    pid: u32,
    /// When the broker exited.
    broker_end: Option<Duration>,
    /// When the broker must have confirmed a signal.
    answer_until: Option<Duration>,
    /// How often the end of the run was forced.
    forced: u32,
    /// uid of the workers.
    pub uid: u32,
}

impl Link {
    /// Forks a broker for `tenant`. Everything that may block happens in the child.
    ///
    /// # Errors
    /// If the broker cannot be forked or watched.
    pub fn start(
        tenant: &TenantConfig,
        restarts: u64,
        uid: u32,
        serial: u32,
        poller: &Poller<Watched>,
    ) -> anyhow::Result<Self> {
        let (ours, theirs) = socket::pair()?;
        let pid = fork::child(|| serve(tenant, restarts, uid, theirs)).context("cannot fork a broker")?;
        let pid = pid.as_raw().cast_unsigned();
        let broker = pidfd_open(pid, false).context("cannot open a pidfd of a broker")?;
        poller.add(&ours, Watched::Link(serial)).context("cannot watch a broker")?;
        poller.add(&broker, Watched::Broker(serial)).context("cannot watch a broker")?;
        Ok(Link {
            channel: Some(ours.into()),
            broker: Some(broker),
            spawner: None,
            spawner_pid: 0,
            pid,
            broker_end: None,
            answer_until: None,
            forced: 0,
            uid,
        })
    }

    /// The next message of the broker; `None` if there is none.
    pub fn receive(&mut self, serial: u32, poller: &Poller<Watched>) -> Option<FrontEvent> {
        match self.channel.as_mut()?.try_receive::<FrontEvent>() {
            Ok((FrontEvent::Running { spawner }, _)) => {
                // The id is not reused meanwhile: only the broker can reap the spawner, and does so at its
                // own end.
                self.spawner = pidfd_open(spawner, false).ok();
                self.spawner_pid = spawner;
                if let Some(spawner) = &self.spawner {
                    let _ = poller.add(spawner, Watched::Spawner(serial));
                }
                Some(FrontEvent::Running { spawner })
            }
            Ok((event, _)) => {
                self.answer_until = None;
                Some(event)
            }
            Err(ChannelError::WouldBlock) => None,
            Err(_) => {
                self.channel = None;
                None
            }
        }
    }

    /// Notes that the broker has exited.
    pub fn broker_ended(&mut self, now: Duration) {
        self.broker = None;
        self.broker_end = Some(now);
    }

    /// Process id of the broker, if it is alive.
    #[must_use]
    pub fn broker(&self) -> Option<u32> {
        self.broker.is_some().then_some(self.pid)
    }

    /// When the broker exited, if it has.
    #[must_use]
    pub fn broker_end(&self) -> Option<Duration> {
        self.broker_end
    }

    /// Notes that the spawner has exited.
    pub fn spawner_ended(&mut self) {
        self.spawner = None;
    }

    /// Whether all processes of the run have ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.broker.is_none() && self.spawner.is_none()
    }

    /// Sends an order to the broker. If this fails, the broker is dead, stopped, or about to be killed.
    pub fn order(&mut self, order: FrontOrder) {
        if let Some(channel) = &mut self.channel {
            let _ = channel.try_send(&order, &[]);
        }
        // Only the spawner can end a tenant that keeps running without its broker.
        if self.broker.is_none()
            && let Some(spawner) = &self.spawner
        {
            let _ = pidfd::send_signal(spawner.as_fd(), Signal::SIGTERM);
        }
    }

    /// Sends the command a signal, which the broker must confirm. Wakes processes that were stopped.
    pub fn signal(&mut self, signal: Signal, now: Duration) {
        self.broker.iter().chain(&self.spawner).for_each(ending::wake);
        self.order(FrontOrder::Signal(signal as i32));
        self.answer_until = self.broker.as_ref().map(|_| now.saturating_add(ANSWER));
    }

    /// When the broker must have confirmed a signal.
    #[must_use]
    pub fn answer_until(&self) -> Option<Duration> {
        self.answer_until
    }

    /// Returns whether the broker did not confirm a signal in time, once.
    pub fn is_silent(&mut self, now: Duration) -> bool {
        self.answer_until.take_if(|until| *until <= now).is_some()
    }

    /// Kills the broker; its spawner then ends the tenant. At the second time, kills the spawner.
    pub fn force(&mut self) {
        self.answer_until = None;
        self.forced += 1;
        // ESRCH: the process has exited already.
        if let Some(broker) = &self.broker {
            let _ = pidfd::send_signal(broker.as_fd(), Signal::SIGKILL);
        }
        if let Some(spawner) = &self.spawner {
            let signal = if self.forced > 1 { Signal::SIGKILL } else { Signal::SIGTERM };
            let _ = pidfd::send_signal(spawner.as_fd(), signal);
            ending::wake(spawner);
        }
    }

    /// Returns whether the spawner was killed, so that its children became those of the manager.
    #[must_use]
    pub fn left_orphans(&self) -> bool {
        self.forced > 1
    }

    /// Process ids of the children of the manager that belong to this run.
    pub fn children(&self) -> impl Iterator<Item = u32> {
        [self.broker(), self.spawner.as_ref().map(|_| self.spawner_pid)].into_iter().flatten()
    }
}

/// Runs the broker's process. Returns its exit status.
fn serve(tenant: &TenantConfig, restarts: u64, uid: u32, front: OwnedFd) -> i32 {
    // The manager blocks signals that it reads from a signalfd. The processes of a tenant must get them.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let keep = [front.as_fd(), stdin.as_fd(), stdout.as_fd()];
    // Closes the manager's sockets, which lead to operators and to the brokers of other tenants.
    let prepared =
        confine::keep_only(&keep).map_err(anyhow::Error::from).and_then(|()| prepare(tenant, restarts, uid));
    let span = tracing::error_span!("tenant", name = tenant.name.as_str());
    let _entered = span.enter();
    match prepared {
        Ok((launch, report)) => {
            launch.leave_job();
            process::run(launch, front, report)
        }
        Err(error) => {
            let status = error.downcast_ref::<CommandError>().map(CommandError::status);
            let status = status.unwrap_or(front::BROKER_FAILED);
            let failed = FrontEvent::Failed { message: failure(tenant, &error), status };
            // If the manager is gone, nobody waits for the message.
            let _ = Channel::from(front).send(&failed, &[]);
            1
        }
    }
}

/// Why a tenant cannot be launched: all its errors on this machine, with line and key; if there are none,
/// `error`.
fn failure(tenant: &TenantConfig, error: &anyhow::Error) -> String {
    let found = probe::tenant(tenant);
    if found.is_empty() { format!("{error:#}") } else { errors::listed(&found) }
}

fn prepare(
    tenant: &TenantConfig,
    restarts: u64,
    uid: u32,
) -> anyhow::Result<(crate::launch::Launch, Option<File>)> {
    let launch = tenant.launch(uid, restarts)?;
    let report = tenant.options.report.as_ref().map(|path| {
        let opened = service::open_report(path);
        opened.map(File::from).map_err(|(step, errno)| anyhow::anyhow!("{step}: {}", errno.desc()))
    });
    Ok((launch, report.transpose()?))
}
