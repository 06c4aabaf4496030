//! One tenant: the parts that serve it, and how they are wired.
//!
//! | part | owns |
//! |---|---|
//! | [`calls`] | the listener, and by when each call must be answered |
//! | [`claimed`] | which calls may fail because of us |
//! | [`workers`] | the workers, from the request to fork one until it is reaped |
//! | [`readers`] | the readers, and what they may do for handlers |
//! | [`zygote`] | the zygote |
//! | [`artifacts`] | what is kept of crashes |
//! | `interruptions` | the hint that tracing may break a program |
//! | [`log`] | what the log has said |
//! | [`kcov`](crate::kcov) | the KCOV device: instances, arenas, owners; open files of handlers |
//!
//! A part keeps its state private and returns what is to be done. This module and its wiring do it:
//!
//! | wiring | handles |
//! |---|---|
//! | `lifecycle` | workers and zygotes that start and end |
//! | `look` | the regular look at everything that nobody reports |
//! | `reading` | readers that pass on calls, are slow, or end |
//! | `requests` | requests of workers; of them `kcov_requests` those of the device, `handler_requests` those of handlers |

pub mod artifacts;
pub mod calls;
pub mod claimed;
pub mod counters;
pub mod error;
mod handler_requests;
mod interruptions;
mod kcov_requests;
mod lifecycle;
pub mod log;
mod look;
pub mod readers;
mod reading;
mod requests;
pub mod token;
pub mod workers;
pub mod zygote;

use crate::kcov::files::Files;
use crate::kcov::registry::Registry;
use crate::launch::Launch;
use crate::processes::ending::{self, Survivors};
use crate::processes::spawner::message::Start;
use crate::processes::spawner_client::{Spawned, SpawnerClient, end};
use crate::sys::descriptor::Tables;
use crate::sys::pidfd;
use crate::sys::poller::Poller;
use artifacts::Artifacts;
use calls::PendingCalls;
use claimed::Claimed;
use counters::Counters;
use error::{TenantError, system};
use interruptions::Interruptions;
use kcov_proto::claims::Claims;
use kcov_proto::message::{FileId, Heartbeat};
use kcov_proto::quota::Refusals;
use log::TenantLog;
use nix::sys::signal::Signal;
use readers::Readers;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use token::Token;
use workers::Workers;
use workers::back_off::BackOff;
use workers::restarts::Restarts;
use zygote::Zygote;

/// What a tenant is made of, once its processes but workers and readers are started.
#[derive(Debug)]
pub struct Started {
    /// How it was started.
    pub launch: Rc<Launch>,
    /// What its handlers claim.
    pub claims: Claims,
    /// Its spawner.
    pub spawner: SpawnerClient,
    /// Its tender.
    pub tender: Spawned,
    /// Its zygote, which is ready.
    pub zygote: Zygote,
    /// Its listener.
    pub listener: OwnedFd,
    /// The file that stands for the KCOV device.
    pub placeholder: Option<FileId>,
    /// A description of it.
    pub description: Option<OwnedFd>,
    /// Files that stand for the handlers' devices, by their number.
    pub devices: Vec<FileId>,
}

/// One tenant.
#[derive(Debug)]
pub struct Tenant {
    launch: Rc<Launch>,
    claims: Claims,
    claimed: Claimed,
    deadline: Duration,
    poller: Rc<Poller<Token>>,
    spawner: SpawnerClient,
    tender: Spawned,
    zygote: Zygote,
    zygote_restarts: u64,
    calls: PendingCalls,
    workers: Workers,
    readers: Readers,
    registry: Registry,
    /// The file that stands for the KCOV device.
    placeholder: Option<FileId>,
    /// What an `ENABLE` leaves in the area, as the last worker reported it.
    heartbeat: Heartbeat,
    /// The roster, read-only, for workers.
    roster: OwnedFd,
    /// Open files of handlers' devices, if handlers have devices.
    files: Option<Files>,
    /// Descriptor tables of callers.
    tables: Tables,
    artifacts: Artifacts,
    log: TenantLog,
    interruptions: Interruptions,
    counters: Counters,
}

impl Tenant {
    /// Builds a tenant and has its first worker forked.
    ///
    /// # Errors
    /// If a system call fails, or the spawner is gone.
    pub fn new(started: Started, poller: Rc<Poller<Token>>) -> Result<Self, TenantError> {
        let Started { launch, claims, spawner, tender, zygote, listener, placeholder, description, devices } =
            started;
        let (deadline, quotas) = (launch.deadline, launch.quotas);
        poller.add(zygote.channel(), Token::Zygote).map_err(system("epoll_ctl"))?;
        poller.add(&spawner, Token::Spawner).map_err(system("epoll_ctl"))?;
        let (registry, roster) =
            Registry::new(quotas, launch.extensions, description).map_err(system("making the registry"))?;
        let files = claims.devices().next().map(|_| Files::new(deadline)).transpose();
        let reader = Start::Reader { tender: tender.pid, placeholder, devices };
        let back_off = BackOff::new(quotas.restart_delay, quotas.crash_rate, deadline);
        let interruptions = Interruptions::new(&launch.trace);
        let mut tenant = Tenant {
            calls: PendingCalls::new(listener, deadline),
            workers: Workers::new(Restarts::new(back_off)),
            readers: Readers::new(&quotas, reader, deadline, poller.clone())
                .map_err(system("memfd_create"))?,
            files: files.map_err(system("making the table of files"))?,
            artifacts: Artifacts::new(&launch, &claims),
            claimed: Claimed::new(&claims),
            launch,
            claims,
            deadline,
            poller,
            spawner,
            tender,
            zygote,
            zygote_restarts: 0,
            registry,
            placeholder,
            heartbeat: Heartbeat::default(),
            roster,
            tables: Tables::default(),
            log: TenantLog::default(),
            interruptions,
            counters: Counters::default(),
        };
        tenant.start_worker()?;
        Ok(tenant)
    }

    /// How it was started.
    #[must_use]
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// Process ids of tender, zygote and workers.
    #[must_use]
    pub fn pids(&self) -> (u32, u32, Vec<u32>) {
        let workers = self.workers.iter().map(|worker| worker.pid()).collect();
        (self.tender.pid, self.zygote.pid(), workers)
    }

    /// Its counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let files = self.files.as_ref();
        Counters {
            instances: self.registry.instances(),
            instances_opened: self.registry.opened(),
            files: files.map_or(0, Files::live),
            files_opened: files.map_or(0, Files::opened),
            handles: self.registry.handles(),
            owners: self.registry.owners(),
            arena_bytes: self.registry.bytes(),
            workers_started: self.workers.started(),
            starts_delayed: self.workers.restarts.delayed(),
            zygote_restarts: self.zygote_restarts,
            artifacts: self.artifacts.written(),
            artifacts_refused: self.artifacts.refused(),
            refusals: self.refusals(),
            tally: self.workers.tally(),
            ..self.counters
        }
    }

    fn refusals(&self) -> Refusals {
        let refusals = self.counters.refusals.and(self.artifacts.refusals());
        refusals.and(self.registry.refusals()).and(self.readers.refusals())
    }

    /// Whether no file of the tenant's is left whose last close is to be noticed.
    #[must_use]
    pub fn has_no_files(&self) -> bool {
        self.registry.is_empty() && self.files.as_ref().is_none_or(Files::is_empty)
    }

    /// Ends the helpers, at the end of the run, after at most `artifacts` for the artifacts that are being written. The spawner
    /// goes last, with [`end`](Self::end).
    pub fn finish(&mut self, artifacts: Duration) {
        for worker in self.workers.finish() {
            self.poller.remove(worker.channel());
        }
        self.artifacts.finish(&mut self.spawner, &self.poller, artifacts);
        self.readers.finish();
        end(self.zygote.process());
        // Kept only for speed; the report does not count it.
        self.tables.clear();
        self.registry.forget_idle();
        self.report_due(true);
    }

    /// Waits for the spawner, which outlives the other helpers.
    ///
    /// # Errors
    /// The processes that cannot be ended.
    pub fn end(self) -> Result<(), Survivors> {
        self.spawner.end()
    }

    /// The writer of an artifact ended.
    pub fn artifact_writer_ended(&mut self) {
        self.artifacts.writer_ended((&mut self.spawner, &self.poller));
    }

    /// Wakes the tender, which may be stopped.
    pub fn wake_tender(&self) {
        ending::wake(&self.tender.pidfd);
    }

    /// Kills the tender. Its end is an event of its own.
    pub fn kill_tender(&self) {
        // ESRCH: it is dead already.
        let _ = pidfd::send_signal(self.tender.pidfd.as_fd(), Signal::SIGKILL);
    }

    fn report_due(&mut self, all: bool) {
        let (crashes, refusals) = (self.counters.worker_crashes, self.refusals());
        self.log.report_due(crashes, &refusals, &self.launch.quotas, all);
    }
}
