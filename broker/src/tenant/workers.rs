//! The workers of a tenant: from the request to fork one until it is reaped.
//!
//! At most one worker is expected at a time, and at most one serves, but for the moment in which one dies and the next is
//! forked.

pub mod back_off;
pub mod budget;
pub mod deaths;
pub mod output;
pub mod permit;
pub mod process;
pub mod restarts;
pub mod supervision;
pub mod watch;

use crate::sys::pidfd;
use deaths::Deaths;
use kcov_proto::device::ArenaId;
use kcov_proto::message::{NotificationId, Order};
use kcov_proto::tally::Tally;
use process::{Sockets, Worker};
use restarts::Restarts;
use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Longest that a zygote may take for a fork.
const FORK: Duration = Duration::from_secs(5);
/// Longest that a zygote may take that has to load its handlers first.
const LOAD: Duration = Duration::from_secs(30);

/// A worker that the zygote was asked for.
#[derive(Debug)]
struct Expected {
    index: u32,
    sockets: Sockets,
    since: Instant,
}

/// The workers of one tenant.
#[derive(Debug)]
pub struct Workers {
    table: BTreeMap<u32, Worker>,
    expected: Option<Expected>,
    next: u32,
    started: u64,
    /// Dead workers of which it is not known yet how they ended.
    pub deaths: Deaths,
    /// What dead workers said they did.
    tally: Tally,
    /// When the next one starts.
    pub restarts: Restarts,
}

impl Workers {
    /// None.
    #[must_use]
    pub fn new(restarts: Restarts) -> Self {
        Workers {
            table: BTreeMap::new(),
            expected: None,
            next: 0,
            started: 0,
            deaths: Deaths::default(),
            tally: Tally::default(),
            restarts,
        }
    }

    /// The index for the next worker; `None` while one is expected.
    pub fn next_index(&mut self) -> Option<u32> {
        if self.expected.is_some() {
            return None;
        }
        let index = self.next;
        self.next = self.next.wrapping_add(1);
        Some(index)
    }

    /// The zygote was asked for worker `index`.
    pub fn expect(&mut self, index: u32, sockets: Sockets, now: Instant) {
        self.expected = Some(Expected { index, sockets, since: now });
    }

    /// The worker that is expected will not come. Returns whether there was one.
    pub fn cancel_expected(&mut self) -> bool {
        self.expected.take().is_some()
    }

    /// Takes index and sockets of the worker that was expected.
    pub fn take_expected(&mut self) -> Option<(u32, Sockets)> {
        self.expected.take().map(|Expected { index, sockets, .. }| (index, sockets))
    }

    /// Whether the zygote should have forked by now.
    #[must_use]
    pub fn is_fork_late(&self, zygote_is_ready: bool, now: Instant) -> bool {
        let patience = if zygote_is_ready { FORK } else { LOAD };
        self.expected.as_ref().is_some_and(|expected| now - expected.since >= patience)
    }

    /// The expected worker was forked, as `pid`.
    pub fn insert(
        &mut self,
        index: u32,
        pid: u32,
        pidfd: OwnedFd,
        sockets: Sockets,
        now: Instant,
    ) -> &mut Worker {
        self.started += 1;
        self.table.entry(index).or_insert_with(|| Worker::new(pid, pidfd, sockets, now))
    }

    /// Notes how a worker ended, as the zygote reports it.
    pub fn note_end(&mut self, pid: u32, signal: i32, status: i32) {
        match self.table.values_mut().find(|worker| worker.pid() == pid) {
            Some(worker) => worker.note_end(signal, status),
            None => self.deaths.note_end(pid, signal, status),
        }
    }

    /// Takes a worker out that is dead, or is to end; what it did is added up.
    pub fn remove(&mut self, index: u32) -> Option<Worker> {
        let worker = self.table.remove(&index)?;
        worker.add_to(&mut self.tally);
        Some(worker)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Workers forked so far.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Worker `index`.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Worker> {
        self.table.get(&index)
    }

    /// Worker `index`.
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Worker> {
        self.table.get_mut(&index)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Worker> {
        self.table.values()
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        self.table.values_mut()
    }

    /// Their indices.
    #[must_use]
    pub fn indices(&self) -> Vec<u32> {
        self.table.keys().copied().collect()
    }

    /// The worker that takes orders: the first that serves.
    pub fn serving(&mut self) -> Option<(u32, &mut Worker)> {
        self.table.iter_mut().find(|(_, worker)| worker.is_serving()).map(|(&index, worker)| (index, worker))
    }

    /// Gives an order to each worker that serves, but not to the one with the index `except`.
    pub fn order_all(&mut self, order: &Order, except: Option<u32>) {
        let serving = self.table.iter_mut().filter(|(_, worker)| worker.is_serving());
        for (_, worker) in serving.filter(|(index, _)| Some(**index) != except) {
            worker.order(order.clone());
        }
    }

    /// The ids that their slots show, 0 for none.
    #[must_use]
    pub fn alleged_ids(&self) -> Vec<NotificationId> {
        self.table.values().map(Worker::alleged_id).collect()
    }

    /// An arena is gone. Returns whether any worker may have it mapped.
    pub fn drop_arena(&mut self, id: ArenaId) -> bool {
        self.table.values_mut().filter_map(|worker| worker.drop_arena(id).then_some(())).count() > 0
    }

    /// Memory and pipes between workers and broker.
    pub fn shared(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.table.values().flat_map(Worker::shared)
    }

    /// What all workers say they did, the dead ones included.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = self.tally;
        self.table.values().for_each(|worker| worker.add_to(&mut tally));
        tally
    }

    /// Counts a record that the broker could not append for them.
    pub fn count_lost_record(&mut self) {
        self.tally.records_lost += 1;
    }

    /// Kills all of them, for `reason`: one of them is at fault, and it is not known which.
    pub fn kill_all(&mut self, reason: &'static str) {
        self.table.values_mut().for_each(|worker| worker.kill(reason));
    }

    /// The run is over: kills all of them, and waits until they are dead.
    pub fn finish(&mut self) -> Vec<Worker> {
        let mut workers: Vec<Worker> =
            self.indices().into_iter().filter_map(|index| self.remove(index)).collect();
        for worker in &mut workers {
            worker.kill("the run is over");
            let _ = pidfd::wait_dead(worker.pidfd(), 1000);
        }
        workers
    }
}
