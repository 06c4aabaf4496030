//! Open files of handlers' devices.
//!
//! A file is a memfd, as an arena is, but nothing can be stored in it: it has an identity, and its last close is noticed as
//! that of an arena. Its state is in the worker whose handler opened it, and is lost with that worker.

mod opening;

use crate::kcov::arena::Arena;
use crate::kcov::arena_table::ArenaTable;
use crate::sys::memfd::Reopener;
use kcov_proto::Errno;
use kcov_proto::device::{ArenaId, Tid};
use kcov_proto::message::{ClosedFile, FileId, NotificationId, Order};
use nix::errno::Errno as SysErrno;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

pub use opening::Opening;

/// A trapped close of a descriptor of a file. It may be the last one.
#[derive(Clone, Copy, Debug)]
struct Close {
    tid: Tid,
    since: Instant,
}

/// A file whose last descriptor was closed this long after a trapped close was not closed by that one.
const CLOSE_WITHIN: Duration = Duration::from_millis(300);
/// Most orders that are remembered.
const MAX_ORDERED: usize = 256;

/// The files of one tenant.
#[derive(Debug)]
pub struct Files {
    table: ArenaTable,
    devices: HashMap<ArenaId, u16>,
    /// The last trapped close of each file, if it may be the last one.
    closes: HashMap<ArenaId, Close>,
    /// The last orders to release a file whose closer is known.
    ordered: VecDeque<ClosedFile>,
    opening: HashMap<NotificationId, Opening>,
    reopener: Reopener,
    opened: u64,
    deadline: Duration,
}

fn from_system(errno: SysErrno) -> Errno {
    Errno(errno as i32)
}

impl Files {
    /// No files. `deadline` bounds how long an open may take.
    ///
    /// # Errors
    /// As `inotify_init1(2)` and `open(2)`.
    pub fn new(deadline: Duration) -> Result<Self, SysErrno> {
        Ok(Files {
            table: ArenaTable::default(),
            devices: HashMap::new(),
            closes: HashMap::new(),
            ordered: VecDeque::new(),
            opening: HashMap::new(),
            reopener: Reopener::new()?,
            opened: 0,
            deadline,
        })
    }

    /// Files that exist, including those that are being opened.
    #[must_use]
    pub fn live(&self) -> usize {
        self.devices.len() + self.opening.len()
    }

    /// Files ever opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// The file with this identity, and the number of its device.
    #[must_use]
    pub fn find(&self, file: FileId) -> Option<(ArenaId, u16)> {
        let id = self.table.find(file)?;
        self.devices.get(&id).map(|&device| (id, device))
    }

    /// Begins an open. The order goes to a worker by [`take_orders`](Self::take_orders).
    ///
    /// # Errors
    /// `EINVAL` for `O_DIRECT`, which devices do not have; else as the system calls.
    pub fn begin(&mut self, id: NotificationId, tid: u32, device: u16, flags: u32) -> Result<(), Errno> {
        let open = flags.cast_signed();
        if open & libc::O_DIRECT != 0 {
            return Err(Errno::EINVAL);
        }
        let mut arena = Arena::create_empty(open, &self.reopener).map_err(from_system)?;
        let description = arena.describe(open, &self.reopener).map_err(from_system)?;
        self.opened += 1;
        let file = ArenaId { index: self.opened as u32, generation: (self.opened >> 32) as u32 };
        let opening = Opening {
            worker: None,
            order: Order::Open { id, tid, device, flags, file },
            device,
            file,
            arena,
            description,
            close_on_exec: flags & libc::O_CLOEXEC as u32 != 0,
            since: Instant::now(),
        };
        self.opening.insert(id, opening);
        Ok(())
    }

    /// Takes the orders that no worker has. They are `worker`'s afterwards.
    pub fn take_orders(&mut self, worker: u32) -> Vec<Order> {
        let unordered = self.opening.values_mut().filter(|opening| opening.worker.is_none());
        unordered
            .map(|opening| {
                opening.worker = Some(worker);
                opening.order.clone()
            })
            .collect()
    }

    /// Takes the open that `worker` has decided; `None` if it does not have the order.
    pub fn decided(&mut self, id: NotificationId, worker: u32) -> Option<Opening> {
        match self.opening.get(&id) {
            Some(opening) if opening.worker == Some(worker) => self.opening.remove(&id),
            Some(_) | None => None,
        }
    }

    /// The caller has its descriptor.
    pub fn insert(&mut self, opening: Opening) {
        let Opening { device, file, arena, .. } = opening;
        // This fails only for access mode 3 without a watch. The file is never found then.
        if self.table.insert(file, arena).is_ok() {
            self.devices.insert(file, device);
        }
    }

    /// `worker` is dead. Returns whether the call that it had in flight was an open, which is lost. Its other orders are for
    /// the next worker.
    pub fn worker_died(&mut self, worker: u32, in_flight: NotificationId) -> bool {
        let lost = self.opening.remove(&in_flight).is_some();
        for opening in self.opening.values_mut().filter(|opening| opening.worker == Some(worker)) {
            opening.worker = None;
        }
        lost
    }

    /// Gives up opens that have taken longer than the deadline: their notifications, and the workers that have the orders.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<(NotificationId, Option<u32>)> {
        let deadline = self.deadline;
        let late = |opening: &Opening| now.saturating_duration_since(opening.since) >= deadline;
        self.opening
            .extract_if(|_, opening| late(opening))
            .map(|(id, opening)| (id, opening.worker))
            .collect()
    }

    /// `tid` is about to close a descriptor of `file`.
    pub fn closing(&mut self, file: ArenaId, tid: Tid) {
        self.closes.insert(file, Close { tid, since: Instant::now() });
    }

    /// Takes the files that the last closes of `tid` have released. Its other closes were not the last ones.
    pub fn closed_by(&mut self, tid: Tid) -> Vec<ArenaId> {
        let closes = self.closes.extract_if(|_, close| close.tid == tid);
        let mut files: Vec<ArenaId> = closes.map(|(file, _)| file).collect();
        files.retain(|file| self.release(*file));
        files
    }

    /// Takes the files that no process has open any more, with the thread that closed each, if that is known: those with
    /// a trapped close, and of the others the next in turn, or `all`.
    pub fn sweep(&mut self, all: bool) -> Vec<(ArenaId, Option<Tid>)> {
        let mut closed = Vec::new();
        for (file, Close { tid, since }) in std::mem::take(&mut self.closes) {
            if self.release(file) {
                closed.push((file, Some(tid)));
            } else if since.elapsed() < CLOSE_WITHIN {
                self.closes.insert(file, Close { tid, since });
            }
        }
        let looks = if all { usize::MAX } else { self.table.turn() };
        for file in self.table.released(looks) {
            // Closed since the look above.
            let tid = self.closes.get(&file).map(|close| close.tid);
            self.remove(file);
            closed.push((file, tid));
        }
        closed
    }

    /// Remembers an order to release a file that was just given. The next call of the thread that closed the file may
    /// overtake it.
    pub fn ordered(&mut self, closed: ClosedFile) {
        if self.ordered.len() >= MAX_ORDERED {
            self.ordered.pop_front();
        }
        self.ordered.push_back(closed);
    }

    /// Takes the orders for files that `tid` closed. They may be carried out already.
    pub fn take_ordered(&mut self, tid: Tid) -> Vec<ClosedFile> {
        let is_of = |closed: &ClosedFile| closed.closer.is_some_and(|closer| closer.tid == tid);
        let (of_tid, others): (Vec<_>, Vec<_>) = self.ordered.drain(..).partition(is_of);
        self.ordered = others.into();
        of_tid
    }

    /// Forgets a file if no process has it open. Returns whether it did.
    fn release(&mut self, file: ArenaId) -> bool {
        // In use, or unknown: a later look decides.
        let is_released = self.table.get(file).is_some_and(|arena| arena.is_released() == Ok(true));
        if is_released {
            self.remove(file);
        }
        is_released
    }

    fn remove(&mut self, file: ArenaId) {
        self.table.remove(file);
        self.devices.remove(&file);
        self.closes.remove(&file);
    }

    /// Whether there is nothing to sweep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty() && self.opening.is_empty()
    }
}
