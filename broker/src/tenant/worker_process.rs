//! A worker as the broker sees it: its sockets, its slot, what it was given and how it fares.

use crate::launch::call_name;
use crate::sys::listener::Answer;
use crate::sys::pidfd;
use crate::sys::procfs;
use crate::sys::shared::SharedWords;
use crate::sys::socket::{Channel, ChannelError};
use crate::tenant::permit::Phase;
use crate::tenant::received::Received;
use crate::tenant::requests::Requests;
use crate::tenant::worker_output::WorkerOutput;
use kcov_proto::device::ArenaId;
use kcov_proto::message::{Heartbeat, MAX_DROPS, NotificationId, Order};
use kcov_proto::sync::Ordering;
use kcov_proto::{journal, slot};
use nix::sys::signal::Signal;
use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
use tracing::warn;

/// Why most workers are ended that are.
pub const PAST_DEADLINE: &str = "it was past its deadline";

/// What the broker decided for the notification that the worker has in flight.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// The notification.
    pub id: NotificationId,
    /// What the caller gets if the worker dies before it says so.
    pub answer: Answer,
}

/// How far a worker had come when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Progress {
    taken: u64,
    phase: u64,
    since: Instant,
}

/// The broker's ends of what it shares with a worker.
#[derive(Debug)]
pub struct Sockets {
    /// Its requests.
    pub channel: Channel,
    /// Its orders.
    pub orders: Channel,
    /// What it writes.
    pub output: WorkerOutput,
    /// What its handlers do.
    pub journal: SharedWords,
}

/// One worker.
#[derive(Debug)]
pub struct WorkerProcess {
    /// Process id; for the log only.
    pub pid: u32,
    /// The process.
    pub pidfd: OwnedFd,
    /// Its socket.
    pub channel: Channel,
    /// What it writes.
    pub output: WorkerOutput,
    /// What its handlers do.
    pub journal: SharedWords,
    /// Orders go here.
    orders: Channel,
    /// Orders that the socket had no room for.
    waiting: VecDeque<Order>,
    /// Its slot.
    pub slot: SharedWords,
    /// The socket to its next reader, once the last one is gone.
    pub fresh_reader: Option<OwnedFd>,
    /// Where it stands.
    pub phase: Phase,
    /// What it says an `ENABLE` is to leave.
    pub heartbeat: Heartbeat,
    /// The last decision it was given.
    pub decision: Option<Decision>,
    /// It closed its socket.
    pub hung_up: bool,
    /// Why the broker killed it, if it did.
    pub killed: Option<&'static str>,
    /// How often it was looked at since it was asked where it is, with that time.
    asked: u32,
    given: HashSet<ArenaId>,
    drops: Vec<ArenaId>,
    progress: Progress,
    received: Received,
    /// What it may ask.
    pub requests: Requests,
}

impl WorkerProcess {
    /// A worker that was just forked.
    #[must_use]
    pub fn new(pid: u32, pidfd: OwnedFd, sockets: Sockets, slot: SharedWords, now: Instant) -> Self {
        let Sockets { channel, orders, output, journal } = sockets;
        WorkerProcess {
            pid,
            pidfd,
            channel,
            output,
            journal,
            asked: 0,
            orders,
            waiting: VecDeque::new(),
            slot,
            fresh_reader: None,
            phase: Phase::Starting,
            heartbeat: Heartbeat::default(),
            decision: None,
            hung_up: false,
            killed: None,
            given: HashSet::new(),
            drops: Vec::new(),
            progress: Progress { taken: 0, phase: 0, since: now },
            received: Received::new(now),
            requests: Requests::default(),
        }
    }

    /// Whether it has said that it serves.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Serving { .. })
    }

    /// Gives the worker an order. It never waits for the worker: what has no room goes with the next one, or the next
    /// [`flush`](Self::flush).
    pub fn order(&mut self, order: Order) {
        self.requests.grant();
        self.waiting.push_back(order);
        self.flush();
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self) {
        while let Some(order) = self.waiting.front() {
            match self.orders.try_send(order, &[]) {
                Err(ChannelError::WouldBlock) => return,
                // Sent; or the worker is gone, which is handled with its end.
                Ok(()) | Err(_) => drop(self.waiting.pop_front()),
            }
        }
    }

    /// A word of its slot, read once: an allegation.
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        self.slot[index].load(Ordering::Relaxed)
    }

    /// The call that the slot alleges: architecture and number.
    #[must_use]
    pub fn alleged_call(&self) -> (u32, i32) {
        let word = self.word(slot::CALL);
        ((word >> 32) as u32, word as i32)
    }

    /// Whether the worker was given `id` to map. It may have unmapped it since, to make room; it asks again then.
    #[must_use]
    pub fn has(&self, id: ArenaId) -> bool {
        self.given.contains(&id)
    }

    /// Gives the worker `id` to map. Says whether that is new.
    pub fn give(&mut self, id: ArenaId) -> bool {
        self.given.insert(id)
    }

    /// `id` is gone. Says whether the worker may have it mapped.
    pub fn drop_arena(&mut self, id: ArenaId) -> bool {
        let had = self.given.remove(&id);
        if had {
            self.drops.push(id);
        }
        had
    }

    /// Arenas to unmap, as many as one reply holds.
    pub fn take_drops(&mut self) -> Vec<ArenaId> {
        let rest = self.drops.len().saturating_sub(MAX_DROPS);
        self.drops.split_off(rest)
    }

    /// How long the worker has been at the same notification, or in the same wait.
    pub fn stalled(&mut self, now: Instant) -> Duration {
        let (taken, phase) = (self.word(slot::TAKEN), self.word(slot::PHASE));
        if (taken, phase) != (self.progress.taken, self.progress.phase) {
            self.progress = Progress { taken, phase, since: now };
            self.asked = 0;
        }
        now.saturating_duration_since(self.progress.since)
    }

    /// Nothing is to be held against it so far: its deadline starts anew.
    pub fn excuse(&mut self, now: Instant) {
        self.progress.since = now;
        self.asked = 0;
    }

    /// Takes note of what it has in flight.
    pub fn look(&mut self, now: Instant) {
        self.received.look(self.word(slot::ID), now);
    }

    /// A time before it received what it has in flight.
    #[must_use]
    pub fn received(&self) -> Instant {
        self.received.after(self.word(slot::ID))
    }

    /// The signal that ended it, 0 if none did: from procfs until its zygote reaps it, from the pidfd afterwards
    /// (Linux 6.15).
    #[must_use]
    pub fn end_signal(&self) -> i32 {
        let zombie = procfs::stat(self.pid).map(|stat| stat.exit_code);
        let reaped = || pidfd::exit_status(self.pidfd.as_fd());
        zombie.filter(|&code| code != 0).or_else(reaped).unwrap_or(0) & 0x7f
    }

    /// Its exit status, 0 if that cannot be told any more.
    #[must_use]
    pub fn end_status(&self) -> i32 {
        let zombie = procfs::stat(self.pid).map(|stat| stat.exit_code);
        let reaped = || pidfd::exit_status(self.pidfd.as_fd());
        zombie.filter(|&code| code != 0).or_else(reaped).unwrap_or(0) >> 8 & 0xff
    }

    /// Name of the call that the jail forbade it, as it alleges, if it died of `signal` for one.
    #[must_use]
    pub fn forbidden_call(&self, signal: i32) -> Option<String> {
        let word = self.journal[journal::FORBIDDEN].load(Ordering::Relaxed);
        let (arch, number) = journal::forbidden(word).filter(|_| signal == Signal::SIGSYS as i32)?;
        Some(call_name::of(arch, number))
    }

    /// Whether it is being asked where it is.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked > 0 && self.killed.is_none()
    }

    /// Ends a worker that does not come to an end: it is asked where it is, and killed when it has said so.
    pub fn interrupt(&mut self, reason: &'static str) {
        /// A worker that has not answered by then does not get to run, or has seen to it that it is not asked.
        const LOOKS: u32 = 20;
        let answered = self.journal[journal::SIGNAL].load(Ordering::Relaxed) == Signal::SIGQUIT as u64;
        if self.asked == LOOKS || self.asked > 0 && answered {
            return self.kill(reason);
        }
        if self.asked == 0 {
            // ESRCH: it was quicker.
            let _ = pidfd::send_signal(self.pidfd.as_fd(), Signal::SIGQUIT);
        }
        self.asked += 1;
    }

    /// Ends the worker, which broke the rules. The log tells of the first time: there may be more of one that is about to end.
    pub fn convict(&mut self, fault: &'static str) {
        if self.killed.is_none() {
            warn!(fault, "a worker broke the rules");
        }
        self.kill(fault);
    }

    /// Ends the worker, for `reason`; its death is handled when the pidfd says so.
    pub fn kill(&mut self, reason: &'static str) {
        self.killed.get_or_insert(reason);
        // ESRCH: it was quicker.
        let _ = pidfd::send_signal(self.pidfd.as_fd(), Signal::SIGKILL);
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // ESRCH: it is gone already.
        let _ = pidfd::send_signal(self.pidfd.as_fd(), Signal::SIGKILL);
    }
}
