//! A tenant: its registry, its listener, and the workers that serve it.

pub mod assist;
pub mod back_off;
pub mod crash_log;
pub mod hidden;
pub mod permit;
pub mod reader_process;
pub mod received;
pub mod refusal_log;
pub mod requests;
pub mod retries;
pub mod untaken;
pub mod worker_output;
pub mod worker_process;
use crate::artifact::keeper::Keeper;
use crate::broker::poller::{Poller, Token};
use crate::broker::report::Counters;
use crate::kcov::files::Files;
use crate::kcov::registry::Registry;
use crate::launch::Launch;
use crate::processes::reader::allowance::Allowance;
use crate::processes::spawner_client::{SpawnError, Spawned, SpawnerClient};
use crate::sys::descriptor::Tables;
use crate::sys::listener::{self, Answer};
use crate::sys::pidfd;
use crate::sys::shared::SharedWords;
use crate::sys::socket::{self, Channel, ChannelError};
use crate::tenant::back_off::{BackOff, Begins, Stillborn};
use crate::tenant::crash_log::CrashLog;
use crate::tenant::hidden::Overdue;
use crate::tenant::reader_process::ReaderProcess;
use crate::tenant::refusal_log::RefusalLog;
use crate::tenant::retries::Retries;
use crate::tenant::untaken::Untaken;
use crate::tenant::worker_output::WorkerOutput;
use crate::tenant::worker_process::{Sockets, WorkerProcess};
use kcov_proto::claims::Claims;
use kcov_proto::message::{FileId, LoadedModule, NotificationId, ZygoteRequest};
use kcov_proto::quota::Refusals;
use kcov_proto::sync::Ordering;
use kcov_proto::tally::Tally;
use kcov_proto::{Errno, journal, slot};
use nix::errno::Errno as SysErrno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};

/// Bytes of an arena that may wait for the worker to unmap it.
const SMALL: u64 = 16 * 1024;

/// Why a tenant cannot be served (any longer).
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The spawner failed.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A socket failed.
    #[error("a socket failed: {0}")]
    Channel(#[from] ChannelError),
    /// A system call failed.
    #[error("{what}: {errno}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        errno: SysErrno,
    },
    /// A handler cannot be used.
    #[error("{0}")]
    Handler(String),
    /// The workers cannot be jailed, and do not run without it.
    #[error("the workers cannot be jailed: {0}")]
    Jail(String),
    /// The zygote did not come up.
    #[error(
        "the worker program {0} does not start: it {1}; it must be one that calls kcov_worker::main (man kcov-handler)"
    )]
    Zygote(String, String),
    /// The workers die before they serve.
    #[error("the workers die before they serve: see the log for the signal")]
    Workers,
}

pub(crate) fn system(what: &'static str) -> impl FnOnce(SysErrno) -> TenantError {
    move |errno| TenantError::System { what, errno }
}

/// A worker that the zygote was asked for.
pub(crate) struct Expected {
    pub(crate) index: u32,
    pub(crate) sockets: Sockets,
    pub(crate) slot: SharedWords,
    /// When it was asked for.
    pub(crate) since: Instant,
}

/// One tenant.
pub struct Tenant {
    pub(crate) launch: Rc<Launch>,
    pub(crate) poller: Rc<Poller>,
    pub(crate) spawner: SpawnerClient,
    pub(crate) tender: Spawned,
    pub(crate) placeholders: Vec<FileId>,
    /// Files that stand for the handlers' devices, by their number.
    pub(crate) devices: Vec<FileId>,
    /// What the handlers want.
    pub(crate) claims: Claims,
    /// What is loaded into the workers.
    pub(crate) modules: Vec<LoadedModule>,
    /// What is kept of crashes.
    pub(crate) keeper: Keeper,
    /// Open files of the handlers' devices, if they have any.
    pub(crate) files: Option<Files>,
    /// Calls that workers have from the broker.
    pub(crate) retries: Retries,
    /// Calls that no worker takes.
    pub(crate) untaken: Untaken,
    /// Calls that no worker answers.
    pub(crate) unanswered: Untaken,
    pub(crate) overdue: Overdue,
    pub(crate) listener: OwnedFd,
    pub(crate) registry: Registry,
    pub(crate) roster: OwnedFd,
    pub(crate) zygote: Spawned,
    pub(crate) zygote_channel: Channel,
    /// Whether it has loaded its handlers.
    pub(crate) zygote_ready: bool,
    pub(crate) workers: BTreeMap<u32, WorkerProcess>,
    pub(crate) expected: Option<Expected>,
    pub(crate) next_worker: u32,
    pub(crate) readers: BTreeMap<u32, ReaderProcess>,
    pub(crate) next_reader: u32,
    /// The last notification that somebody named and that was in flight then.
    pub(crate) last_id: Option<NotificationId>,
    /// Workers in a row that died before they served.
    pub(crate) stillborn: Stillborn,
    /// What the crashes of those that served cost.
    pub(crate) back_off: BackOff,
    /// When the next one starts, if its predecessors' crashes hold it up.
    pub(crate) start_due: Option<Instant>,
    pub(crate) counters: Counters,
    /// What its readers may do for handlers.
    pub(crate) allowance: Allowance,
    /// Handlers that the log has told of as having no coverage points.
    pub(crate) silent: BTreeSet<String>,
    /// Explicit ids with one PC that workers have told of.
    pub(crate) collisions: u32,
    /// What the log tells of quotas.
    pub(crate) refusal_log: RefusalLog,
    /// What it tells of crashes.
    pub(crate) crash_log: CrashLog,
    pub(crate) tables: Tables,
}

impl Tenant {
    /// Has the zygote fork one more worker, with a reader of its own.
    ///
    /// # Errors
    /// If the spawner or the zygote is gone.
    pub fn start_worker(&mut self) -> Result<(), TenantError> {
        if self.expected.is_some() {
            return Ok(());
        }
        let index = self.next_worker;
        self.next_worker = self.next_worker.wrapping_add(1);
        let (ours, theirs) = socket::pair()?;
        let (our_orders, their_orders) = socket::pair()?;
        let slot = SharedWords::new(c"kcov-slot", slot::WORDS).map_err(system("making a slot"))?;
        slot[slot::TIMED].store(self.launch.timed(), Ordering::Relaxed);
        let (requests, workers_end) = socket::pair()?;
        let order = ZygoteRequest::Fork { index };
        let journal =
            SharedWords::new(c"kcov-journal", journal::WORDS).map_err(system("making a journal"))?;
        let (output, their_output) = WorkerOutput::new().map_err(system("pipe2"))?;
        let descriptors: [&dyn AsFd; 8] = [
            &self.listener,
            &theirs,
            &their_orders,
            &workers_end,
            &slot.file(),
            &self.roster,
            &journal.file(),
            &their_output,
        ];
        match self.zygote_channel.try_send(&order, &descriptors) {
            // Its end is an event of its own: the next zygote is asked anew.
            Ok(()) | Err(ChannelError::Closed) => {}
            Err(error) => return Err(error.into()),
        }
        let sockets = Sockets { channel: ours.into(), orders: our_orders.into(), output, journal };
        self.expected = Some(Expected { index, sockets, slot, since: Instant::now() });
        drop(workers_end);
        // Last: the zygote forks meanwhile, and callers wait for the worker before they wait for its reader.
        self.start_reader(index, requests)
    }

    /// The zygote says that the worker is forked.
    ///
    /// # Errors
    /// If it cannot be watched.
    pub(crate) fn worker_forked(&mut self, pid: u32) -> Result<(), TenantError> {
        let Some(Expected { index, sockets, slot, since: _ }) = self.expected.take() else {
            warn!(pid, "the zygote forked a worker that nobody asked for");
            return Ok(());
        };
        let pidfd = match self.child_of_zygote(pid) {
            Ok(pidfd) => pidfd,
            // Dead already, or not what the zygote says: either way its exit report comes, or the zygote ends.
            Err(errno) => {
                warn!(event = "worker_lost", pid, %errno, "the zygote's word for a worker does not hold");
                return self.worker_failed_to_start();
            }
        };
        self.poller.add(&sockets.channel, Token::Worker(index)).map_err(system("watching a worker"))?;
        self.poller.add(&sockets.output, Token::WorkerOutput(index)).map_err(system("watching a worker"))?;
        self.poller.add_once(pidfd.as_fd(), Token::WorkerEnd(index)).map_err(system("watching a worker"))?;
        self.counters.workers_started += 1;
        let worker = WorkerProcess::new(pid, pidfd, sockets, slot, Instant::now());
        self.workers.insert(index, worker);
        debug!(event = "worker_start", pid, "worker forked");
        Ok(())
    }

    /// A pidfd of `pid`, which the zygote alleges to be its child: the broker must not be made to kill another.
    fn child_of_zygote(&self, pid: u32) -> Result<OwnedFd, SysErrno> {
        let pidfd = crate::sys::process::pidfd_open(pid, false)?;
        let parent = crate::sys::procfs::stat(pid).map(|stat| stat.parent);
        // Still alive after the look, so the look was at the process of this pidfd.
        if parent == Some(self.zygote.pid) && !pidfd::is_dead(pidfd.as_fd()) {
            Ok(pidfd)
        } else {
            Err(SysErrno::ESRCH)
        }
    }

    /// The worker is up.
    pub(crate) fn worker_is_ready(&mut self, index: u32) {
        self.stillborn = Stillborn::default();
        debug!(event = "worker_ready", index, "worker serves");
        self.send_orders();
    }

    /// A worker died while it served, after so many calls: the next one starts, now or after a while.
    ///
    /// # Errors
    /// As [`start_worker`](Self::start_worker).
    pub(crate) fn worker_crashed(&mut self, taken: u64) -> Result<(), TenantError> {
        let wait = self.back_off.crashed(taken, Instant::now());
        let begins = self.back_off.begins();
        self.start_worker_after(wait, begins)
    }

    /// `begins`: why it is the first to wait of those that follow crashes, if it is.
    fn start_worker_after(&mut self, wait: Duration, begins: Option<Begins>) -> Result<(), TenantError> {
        if wait.is_zero() {
            return self.start_worker();
        }
        self.counters.starts_delayed += 1;
        let milliseconds = wait.as_millis() as u64;
        let event = "back_off";
        match begins {
            Some(Begins::InARow) => {
                let option = "--max-restart-delay";
                warn!(event, milliseconds, option, "workers crash in a row: each next one waits longer");
            }
            Some(Begins::OverTime) => {
                let option = "--max-crash-rate";
                warn!(
                    event,
                    milliseconds, option, "workers crash often: each next one waits until that is free"
                );
            }
            None => info!(event, milliseconds, "workers die again and again: the next one waits"),
        }
        self.start_due = Some(Instant::now() + wait);
        Ok(())
    }

    /// Starts the worker that was held up, once it is time.
    ///
    /// # Errors
    /// As [`start_worker`](Self::start_worker).
    pub(crate) fn start_due_worker(&mut self, now: Instant) -> Result<(), TenantError> {
        if self.start_due.is_some_and(|due| due <= now) {
            self.start_due = None;
            self.start_worker()?;
        }
        Ok(())
    }

    /// A worker died before it served, or its zygote before it could be forked: the next one starts, now or after a
    /// while.
    ///
    /// # Errors
    /// [`TenantError::Workers`] if that goes on.
    pub(crate) fn worker_failed_to_start(&mut self) -> Result<(), TenantError> {
        let now = Instant::now();
        let in_a_row = self.stillborn.add(now);
        if self.stillborn.is_hopeless(now) {
            return Err(TenantError::Workers);
        }
        self.start_worker_after(self.back_off.stillborn(in_a_row), None)
    }

    /// Lets go of everything and waits for the spawner, which outlives the other helpers.
    pub(crate) fn end(self) {
        let Tenant { spawner, .. } = self;
        spawner.end();
    }

    /// Whether there is no file of the tenant's whose last close is to be seen.
    pub(crate) fn has_no_files(&self) -> bool {
        self.registry.is_empty() && self.files.as_ref().is_none_or(Files::is_empty)
    }

    /// Whether a poll of the listener shows `event`.
    pub(crate) fn listener_says(&self, event: PollFlags) -> bool {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT)];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        matches!(polled, Ok(1..)) && fds[0].revents().is_some_and(|events| events.contains(event))
    }

    /// Whether no process is left under the filter.
    pub(crate) fn is_unused(&self) -> bool {
        self.listener_says(PollFlags::POLLHUP)
    }

    /// Answers a caller in a worker's stead. Says whether there was one.
    pub(crate) fn answer_caller(&mut self, id: NotificationId, answer: Answer) -> bool {
        match listener::send(self.listener.as_fd(), id, answer) {
            Ok(answered) => answered,
            Err(errno) => {
                error!(%errno, "cannot answer a caller");
                false
            }
        }
    }

    /// Arenas that ended: workers unmap them with their next reply; their memory is given back now.
    pub(crate) fn drop_gone(&mut self) {
        for (id, arena) in self.registry.take_gone() {
            let mut mapped = false;
            for worker in self.workers.values_mut() {
                mapped |= worker.drop_arena(id);
            }
            // A small one is worth less than the call; the worker unmaps it with its next reply.
            if mapped && arena.bytes() > SMALL {
                arena.empty();
            }
        }
    }

    /// Answers what a dead worker left unanswered.
    pub(crate) fn answer_for_dead(&mut self, worker: &WorkerProcess) {
        let alleged = worker.word(slot::ID);
        if let Some(decision) = worker.decision {
            self.answer_caller(decision.id, decision.answer);
        }
        if alleged != 0 && self.answer_caller(alleged, Answer::Fail(Errno::EIO)) {
            return;
        }
        self.answer_hidden();
    }

    /// Whether some call was taken and not answered (`seccomp_notify_poll`, kernel/seccomp.c, Linux 6.12).
    pub(crate) fn has_unanswered(&self) -> bool {
        self.listener_says(PollFlags::POLLOUT)
    }

    /// Adds up what a worker that ended says it did.
    pub(crate) fn count(&mut self, worker: &WorkerProcess) {
        self.counters.tally.add(|at| worker.word(at));
    }

    /// What was refused, as it was over a quota.
    pub(crate) fn refusals(&self) -> Refusals {
        self.counters.refusals.and(self.registry.refusals()).and(self.allowance.refusals())
    }

    /// What all workers say they did, those that live among them.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = self.counters.tally;
        self.workers.values().for_each(|worker| tally.add(|at| worker.word(at)));
        tally
    }
}
