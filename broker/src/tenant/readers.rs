//! The readers of a tenant: one for each worker, and those that are stuck in one call while another took their place.

pub mod reader;

use super::token::Token;
use crate::launch::quotas::Quotas;
use crate::processes::reader::allowance::Allowance;
use crate::processes::spawner::message::Start;
use crate::processes::spawner_client::{Ordered, Spawned, SpawnerClient};
use crate::sys::poller::Poller;
use crate::sys::shared::SharedWords;
use crate::sys::socket::{self, Channel, ChannelError};
use crate::tenant::error::{TenantError, system};
use kcov_proto::message::{Forward, NotificationId, ReaderRequest, encode};
use kcov_proto::quota::Refusals;
use kcov_proto::slot;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use reader::{Reader, Waiting};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tracing::{error, warn};

/// Most readers of a tenant that are stuck and replaced. Each costs a process; a tenant that blocks more waits for itself.
const MAX_REPLACED: usize = 16;

/// The readers of one tenant.
#[derive(Debug)]
pub struct Readers {
    table: BTreeMap<u32, Reader>,
    next: u32,
    /// By worker: its end of the socket to the reader that follows the last one.
    fresh: BTreeMap<u32, OwnedFd>,
    /// By worker: a duplicate of its end of the socket to its current reader, for requests of the broker.
    senders: BTreeMap<u32, OwnedFd>,
    /// What readers may do for handlers.
    allowance: Allowance,
    start: Start,
    deadline: Duration,
    poller: Rc<Poller<Token>>,
}

/// A call that no reader looked at, and whether the kernel is to run it.
pub type Unread = (NotificationId, bool);

/// A reader that ended.
#[derive(Debug)]
pub struct Ended {
    /// The worker that it read for.
    pub worker: u32,
    /// The call that it was at, which has no answer, and whether the kernel is to run it.
    pub busy: Option<Unread>,
    /// What is left for the next reader; `None` if there is one already.
    pub waiting: Option<Vec<Waiting>>,
}

/// What a look at the readers showed.
#[derive(Debug, Default)]
pub struct Looked {
    /// Readers that are past their deadline.
    pub late: Vec<u32>,
    /// Readers that are slow over one call and were replaced: their workers, and what waits.
    pub replaced: Vec<(u32, Vec<Waiting>)>,
}

impl Readers {
    /// None. `start` is the order that starts one.
    ///
    /// # Errors
    /// As `memfd_create(2)`.
    pub fn new(
        quotas: &Quotas,
        start: Start,
        deadline: Duration,
        poller: Rc<Poller<Token>>,
    ) -> Result<Self, Errno> {
        let allowance = Allowance::new(quotas)?;
        let (table, fresh, senders) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Readers { table, next: 0, fresh, senders, allowance, start, deadline, poller })
    }

    /// What was refused to handlers.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.allowance.refusals()
    }

    /// The worker that reader `index` reads for.
    #[must_use]
    pub fn worker_of(&self, index: u32) -> Option<u32> {
        self.table.get(&index).map(Reader::worker)
    }

    /// Orders a reader for `worker`, which takes requests from `requests`. `sender`: a duplicate of the other end. Requests
    /// wait in the socket until it is there.
    ///
    /// # Errors
    /// If the spawner is gone, or a system call fails.
    pub fn start(
        &mut self,
        worker: u32,
        (requests, sender): (OwnedFd, OwnedFd),
        spawner: &mut SpawnerClient,
        listener: BorrowedFd<'_>,
    ) -> Result<(), TenantError> {
        let (ours, theirs) = socket::pair()?;
        let busy = SharedWords::new(c"kcov-busy", slot::WORDS).map_err(system("memfd_create"))?;
        let descriptors: [&dyn AsFd; 5] =
            [&requests, &theirs, &listener, &busy.file(), &self.allowance.file()];
        let index = self.next;
        spawner.start(&self.start, &descriptors, Ordered::Reader(index))?;
        self.next = self.next.wrapping_add(1);
        let channel = Channel::from(ours);
        self.poller.add(&channel, Token::Reader(index)).map_err(system("epoll_ctl"))?;
        let reader = Reader::new(channel, requests, busy, worker, Instant::now());
        self.table.insert(index, reader);
        self.senders.insert(worker, sender);
        Ok(())
    }

    /// The spawner has started reader `index`.
    ///
    /// # Errors
    /// As `epoll_ctl(2)`.
    pub fn started(&mut self, index: u32, process: Spawned) -> Result<(), TenantError> {
        let Some(reader) = self.table.get_mut(&index) else {
            // It was given up meanwhile, and ends by itself, because its sockets are closed.
            return Ok(());
        };
        self.poller.add_once(&process.pidfd, Token::ReaderEnd(index)).map_err(system("epoll_ctl"))?;
        reader.started(process.pidfd);
        Ok(())
    }

    /// Sends a request to the current reader of `worker`, in its place. Returns whether it was sent.
    pub fn request(&self, worker: u32, request: &ReaderRequest) -> bool {
        let Some(sender) = self.senders.get(&worker) else { return false };
        let mut bytes = Vec::new();
        let sent = encode(request, &mut bytes)
            .is_ok()
            .then(|| send(sender.as_raw_fd(), &bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL));
        matches!(sent, Some(Ok(_)))
    }

    /// Takes one call that reader `index` passes on.
    pub fn receive(&mut self, index: u32) -> Option<Forward> {
        let reader = self.table.get_mut(&index)?;
        match reader.channel.try_receive_bare::<Forward>() {
            Ok(call) => Some(call),
            Err(ChannelError::WouldBlock) => None,
            Err(_) => {
                // Its end follows; until then the socket would stay readable.
                self.poller.remove(&reader.channel);
                reader.kill();
                None
            }
        }
    }

    /// Removes a reader that ended, or is to end.
    pub fn end(&mut self, index: u32) -> Option<Ended> {
        let reader = self.table.remove(&index)?;
        self.poller.remove(&reader.channel);
        let waiting = if reader.is_replaced { None } else { Some(reader.take_waiting()) };
        let busy = Some(reader.busy()).filter(|busy| *busy != 0);
        // A request that is still in the socket was not begun.
        let in_socket = |id: &NotificationId| waiting.iter().flatten().any(|(request, _)| request.id == *id);
        let busy = busy.filter(|id| !in_socket(id)).map(|id| (id, reader.runs()));
        Some(Ended { worker: reader.worker(), busy, waiting })
    }

    /// Looks at all readers. A reader that is slow over one call while others wait keeps that call, and another one takes
    /// over what waits.
    pub fn look(&mut self, now: Instant, patience: Duration) -> Looked {
        let mut looked = Looked::default();
        let mut replaced = self.table.values().filter(|reader| reader.is_replaced).count();
        for (&index, reader) in &mut self.table {
            let stalled = reader.stalled(now);
            if stalled >= self.deadline {
                warn!(event = "reader_stuck", "a reader is past its deadline");
                looked.late.push(index);
            } else if stalled >= patience
                && replaced < MAX_REPLACED
                && !reader.is_replaced
                && reader.holds_up_others()
            {
                replaced += 1;
                reader.is_replaced = true;
                looked.replaced.push((reader.worker(), reader.take_waiting()));
            }
        }
        looked
    }

    /// Starts the next reader of `worker`, which serves `waiting` first. Returns the calls that it could not be given.
    pub fn succeed(
        &mut self,
        worker: u32,
        waiting: &[Waiting],
        spawner: &mut SpawnerClient,
        listener: BorrowedFd<'_>,
    ) -> Vec<Unread> {
        let socket = self.start_next(worker, spawner, listener);
        let socket = socket.inspect_err(|error| error!(%error, "cannot start a reader")).ok();
        let passed_on = |bytes: &[u8]| {
            let sent = socket.as_ref().map(|socket| send(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT));
            sent.is_some_and(|sent| sent.is_ok())
        };
        let lost = waiting.iter().filter(|(_, bytes)| !passed_on(bytes));
        let lost = lost.map(|(request, _)| (request.id, request.what.concerns_any_file())).collect();
        match socket {
            Some(socket) => drop(self.fresh.insert(worker, socket)),
            None => drop(self.fresh.remove(&worker)),
        }
        lost
    }

    /// Starts a reader for `worker`. Returns the worker's end of its socket.
    fn start_next(
        &mut self,
        worker: u32,
        spawner: &mut SpawnerClient,
        listener: BorrowedFd<'_>,
    ) -> Result<OwnedFd, TenantError> {
        let (requests, workers_end) = socket::pair()?;
        let sender = duplicate(&workers_end)?;
        self.start(worker, (requests, sender), spawner, listener)?;
        Ok(workers_end)
    }

    /// The current readers of `worker`: not those that are replaced.
    #[must_use]
    pub fn current_of(&self, worker: u32) -> Vec<u32> {
        let current =
            self.table.iter().filter(|(_, reader)| reader.worker() == worker && !reader.is_replaced);
        current.map(|(&index, _)| index).collect()
    }

    /// Whether the next socket of `worker` is there.
    #[must_use]
    pub fn has_fresh(&self, worker: u32) -> bool {
        self.fresh.contains_key(&worker)
    }

    /// Takes the next socket of `worker`.
    pub fn take_fresh(&mut self, worker: u32) -> Option<OwnedFd> {
        self.fresh.remove(&worker)
    }

    /// `worker` is dead: its readers end, as their sockets close.
    pub fn forget_worker(&mut self, worker: u32) {
        self.fresh.remove(&worker);
        self.senders.remove(&worker);
    }

    /// The run is over: ends all readers.
    pub fn finish(&mut self) {
        self.table.clear();
    }
}

/// A duplicate of a descriptor.
///
/// # Errors
/// As `fcntl(2)`.
pub fn duplicate(fd: &OwnedFd) -> Result<OwnedFd, TenantError> {
    fd.try_clone()
        .map_err(|error| system("fcntl(F_DUPFD)")(Errno::from_raw(error.raw_os_error().unwrap_or(0))))
}
