//! A worker process as the broker sees it: its channels, its slot, its standing, and what it was given.

use super::budget::Budget;
use super::output::WorkerOutput;
use super::permit::{Permit, Standing, permit};
use super::supervision::{Decision, Observation};
use super::watch::{SlotView, Watch};
use crate::artifact::End;
use crate::launch::call_name;
use crate::sys::pidfd;
use crate::sys::procfs;
use crate::sys::shared::SharedWords;
use crate::sys::socket::{Channel, ChannelError};
use kcov_proto::device::ArenaId;
use kcov_proto::message::{MAX_DROPS, NotificationId, Order, Reply, Request, RequestKind, Response};
use kcov_proto::sync::Ordering;
use kcov_proto::tally::Tally;
use kcov_proto::{journal, slot};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use tracing::warn;

/// The broker's ends of what it shares with a worker.
#[derive(Debug)]
pub struct Sockets {
    /// Requests of the worker.
    pub channel: Channel,
    /// Orders for the worker.
    pub orders: Channel,
    /// Standard output and error of the worker.
    pub output: WorkerOutput,
    /// What its handlers do.
    pub journal: SharedWords,
    /// What the worker has in flight.
    pub slot: SharedWords,
}

/// The call that a worker's slot shows. All of it is alleged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllegedCall {
    /// The notification, 0 if there is none.
    pub id: NotificationId,
    /// Calling thread.
    pub tid: u32,
    /// Name of the system call, or its number.
    pub name: String,
    /// The call as an order for another worker.
    pub order: Order,
}

/// One worker.
#[derive(Debug)]
pub struct Worker {
    pid: u32,
    pidfd: OwnedFd,
    sockets: Sockets,
    /// Orders that the socket had no room for.
    waiting: VecDeque<Order>,
    standing: Standing,
    /// The last answer that the broker sent this worker: its caller gets it if the worker dies before it passes it on.
    promised: Option<(NotificationId, Response)>,
    hung_up: bool,
    killed: Option<&'static str>,
    /// How it ended, as `wait(2)` encodes it, once its zygote has reported that.
    reported: Option<i32>,
    /// How often it was looked at since it was asked where it is, with that time.
    asked: u32,
    /// Arenas that it was given to map.
    given: HashSet<ArenaId>,
    /// Arenas that it is to unmap.
    drops: Vec<ArenaId>,
    watch: Watch,
    budget: Budget,
}

/// A request of a worker that it may not make. The worker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

/// What came out of a worker's socket.
#[derive(Debug)]
pub enum Received {
    /// A request, with the descriptors beside it.
    Request(Request, Vec<OwnedFd>),
    /// Nothing now.
    Nothing,
    /// Nothing any more: the socket is closed, or the worker is being killed.
    Closed,
}

impl Worker {
    /// A worker that was just forked.
    #[must_use]
    pub fn new(pid: u32, pidfd: OwnedFd, sockets: Sockets, now: Instant) -> Self {
        Worker {
            pid,
            pidfd,
            sockets,
            waiting: VecDeque::new(),
            standing: Standing::Starting,
            promised: None,
            hung_up: false,
            killed: None,
            reported: None,
            asked: 0,
            given: HashSet::new(),
            drops: Vec::new(),
            watch: Watch::new(now),
            budget: Budget::default(),
        }
    }

    /// Process id, for the log and for showing only.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The process.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The socket of its requests, to be polled.
    #[must_use]
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.sockets.channel.as_fd()
    }

    /// What it writes.
    pub fn output(&mut self) -> &mut WorkerOutput {
        &mut self.sockets.output
    }

    /// What its handlers do.
    #[must_use]
    pub fn journal(&self) -> &SharedWords {
        &self.sockets.journal
    }

    /// Memory and pipe that it shares with the broker.
    pub fn shared(&self) -> [BorrowedFd<'_>; 3] {
        [self.sockets.slot.file(), self.sockets.journal.file(), self.sockets.output.as_fd()]
    }

    /// Whether it has reported that it serves.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        matches!(self.standing, Standing::Serving { .. })
    }

    /// Takes one message from its socket. `with_descriptors`: descriptors may come along.
    pub fn receive(&mut self, with_descriptors: bool) -> Received {
        let channel = &mut self.sockets.channel;
        let received = match with_descriptors {
            true => channel.try_receive::<Request>(),
            false => channel.try_receive_bare::<Request>().map(|request| (request, Vec::new())),
        };
        match received {
            Ok((request, descriptors)) => Received::Request(request, descriptors),
            Err(ChannelError::WouldBlock) => Received::Nothing,
            Err(ChannelError::Closed) => {
                // Its death follows and is handled then. If it lives on, the next look ends it.
                self.hung_up = true;
                Received::Closed
            }
            Err(error) => {
                warn!(%error, "a worker sent a malformed request");
                self.kill("sent a malformed request");
                Received::Closed
            }
        }
    }

    /// Waits for the report that the worker has appended the records of a remote section: how many, and how many had no
    /// room. `None` if the worker is dead: one that sends nothing in time, or something else, is killed.
    pub fn await_report(&mut self, within: Duration) -> Option<(u64, u64)> {
        if readable(self.sockets.channel.as_fd(), within) {
            match self.receive(false) {
                Received::Request(Request { what: RequestKind::RemoteDone { stored, lost }, .. }, _) => {
                    return Some((stored, lost));
                }
                Received::Request(..) | Received::Nothing => {
                    self.kill_for(Fault("a request while it appends the records of a section"));
                }
                Received::Closed => {}
            }
        } else {
            self.kill_for(Fault("it does not finish appending the records of a section"));
        }
        // Until it is dead it may write to the area.
        readable(self.pidfd.as_fd(), within);
        None
    }

    /// Checks whether the worker may make this request now. `latest`: the latest call known to be in flight.
    ///
    /// # Errors
    /// [`Fault`] if it may not.
    pub fn admit(&mut self, request: &Request, latest: Option<NotificationId>) -> Result<(), Fault> {
        self.spend(Some(&request.what), request.id, latest)?;
        match permit(self.standing, request.id, &request.what) {
            Permit::Fatal => return Err(Fault("a request out of turn")),
            Permit::Once => self.standing = Standing::Serving { decided: Some(request.id) },
            Permit::Allowed => {}
        }
        Ok(())
    }

    /// Counts a request against the worker's budget: its own, or a call that its reader passes on (`None`).
    ///
    /// # Errors
    /// [`Fault`] if there were too many for one call.
    pub fn spend(
        &mut self,
        what: Option<&RequestKind>,
        id: NotificationId,
        latest: Option<NotificationId>,
    ) -> Result<(), Fault> {
        match self.budget.take(what, id, latest) {
            true => Ok(()),
            false => Err(Fault("too many requests for one call")),
        }
    }

    /// It reports that it serves.
    pub fn serves(&mut self) {
        self.standing = Standing::Serving { decided: None };
    }

    /// Sends a reply, with a descriptor beside it.
    pub fn reply(&mut self, reply: &Reply, file: Option<BorrowedFd<'_>>) {
        if self.standing == (Standing::Serving { decided: Some(reply.id) }) {
            self.promised = reply.response.map(|response| (reply.id, response));
        }
        let channel = &mut self.sockets.channel;
        let sent = match &file {
            None => channel.try_send(reply, &[]),
            Some(file) => channel.try_send(reply, &[file]),
        };
        match sent {
            Ok(()) => {}
            Err(ChannelError::Closed) => self.hung_up = true,
            Err(_) => self.kill("does not take its replies"),
        }
    }

    /// Gives the worker an order, without waiting for it. What the socket has no room for goes with the next order, or
    /// with the next [`flush`](Self::flush).
    pub fn order(&mut self, order: Order) {
        self.budget.grant();
        self.waiting.push_back(order);
        self.flush();
    }

    /// Sends the orders that wait, as far as there is room.
    pub fn flush(&mut self) {
        while let Some(order) = self.waiting.front() {
            match self.sockets.orders.try_send(order, &[]) {
                Err(ChannelError::WouldBlock) => return,
                // Sent; or the worker is gone, which is handled with its end.
                Ok(()) | Err(_) => drop(self.waiting.pop_front()),
            }
        }
    }

    fn word(&self, index: usize) -> u64 {
        self.sockets.slot[index].load(Ordering::Relaxed)
    }

    /// The id that the slot shows, 0 for none.
    #[must_use]
    pub fn alleged_id(&self) -> NotificationId {
        self.word(slot::ID)
    }

    /// Calls that it says it received.
    #[must_use]
    pub fn alleged_taken(&self) -> u64 {
        self.word(slot::TAKEN)
    }

    /// Some threads that it says it served.
    pub fn alleged_recent(&self) -> impl Iterator<Item = u32> {
        let words = (0..slot::RECENT_WORDS).map(|i| self.word(slot::RECENT + i) as u32);
        words.filter(|&tid| tid != 0)
    }

    /// The call that the slot shows.
    #[must_use]
    pub fn alleged_call(&self) -> AllegedCall {
        let (id, tid, call) = (self.word(slot::ID), self.word(slot::PID) as u32, self.word(slot::CALL));
        let (arch, number) = ((call >> 32) as u32, call as i32);
        let args = std::array::from_fn(|i| self.word(slot::ARGUMENTS + i));
        // An id of 0 with a call is a release, which runs for a close that has returned.
        let name = if call == 0 { "none".to_owned() } else { call_name(arch, number) };
        AllegedCall { id, tid, name, order: Order::Call { id, tid, arch, number, args } }
    }

    /// Whether the call `id` may be handled once more after this worker, as far as the worker is concerned: it says that
    /// nothing was done for it, the broker has decided nothing for it, and did not end the worker.
    #[must_use]
    pub fn left_repeatable(&self, id: NotificationId) -> bool {
        let alleged = id != 0 && self.word(slot::REPEATABLE) == id;
        let decided = self.standing == Standing::Serving { decided: Some(id) };
        let ended = self.killed.is_some() || self.asked > 0;
        alleged && !decided && !ended
    }

    /// Adds what it says it did to a tally.
    pub fn add_to(&self, tally: &mut Tally) {
        tally.add(|at| self.word(at));
    }

    /// The last answer that it was to pass on.
    #[must_use]
    pub fn promised(&self) -> Option<(NotificationId, Response)> {
        self.promised
    }

    /// Whether the worker was given `id` to map. It may have unmapped it since, to make room; it asks again then.
    #[must_use]
    pub fn has(&self, id: ArenaId) -> bool {
        self.given.contains(&id)
    }

    /// Notes that the worker gets `id` to map. Returns whether that is new.
    pub fn give(&mut self, id: ArenaId) -> bool {
        self.given.insert(id)
    }

    /// Notes that `id` is gone. Returns whether the worker may have it mapped.
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

    /// Looks at the slot.
    pub fn look(&mut self, now: Instant) -> Observation {
        let slot = SlotView {
            id: self.word(slot::ID),
            taken: self.word(slot::TAKEN),
            phase: self.word(slot::PHASE),
        };
        if self.watch.look(slot, now) {
            self.asked = 0;
        }
        let (stalled, is_asked) = (self.watch.stalled(now), self.is_asked());
        Observation { slot, stalled, is_asked, hung_up: self.hung_up }
    }

    /// Carries out what was decided about it.
    pub fn apply(&mut self, decision: Decision, now: Instant) {
        match decision {
            Decision::Leave => {}
            Decision::Restart => {
                self.watch.restart(now);
                self.asked = 0;
            }
            Decision::Interrupt(reason) => self.interrupt(reason),
            Decision::Kill(reason) => self.kill(reason),
        }
    }

    /// A time before it received the call that its slot shows.
    #[must_use]
    pub fn received_after(&self) -> Instant {
        self.watch.received_after(self.word(slot::ID))
    }

    /// Whether it was asked where it is and has not been killed yet.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.asked > 0 && self.killed.is_none()
    }

    /// Ends a worker that does not finish a call: asks it where it is, and kills it once it answered. To be called again
    /// until it is dead.
    pub fn interrupt(&mut self, reason: &'static str) {
        /// Looks after which a worker is killed that has not answered.
        const LOOKS: u32 = 20;
        let answered =
            self.sockets.journal[journal::SIGNAL].load(Ordering::Relaxed) == Signal::SIGQUIT as u64;
        if self.asked == LOOKS || self.asked > 0 && answered {
            return self.kill(reason);
        }
        if self.asked == 0 {
            // ESRCH: it is dead already.
            let _ = pidfd::send_signal(self.pidfd.as_fd(), Signal::SIGQUIT);
        }
        self.asked += 1;
    }

    /// Kills the worker, which broke a rule. Only the first fault is logged.
    pub fn kill_for(&mut self, Fault(fault): Fault) {
        if self.killed.is_none() {
            warn!(fault, "worker broke a rule");
        }
        self.kill(fault);
    }

    /// Kills the worker, for `reason`. Its death is handled when its pidfd becomes readable.
    pub fn kill(&mut self, reason: &'static str) {
        self.killed.get_or_insert(reason);
        // ESRCH: it is dead already.
        let _ = pidfd::send_signal(self.pidfd.as_fd(), Signal::SIGKILL);
    }

    /// Why the broker killed it, if it did.
    #[must_use]
    pub fn killed(&self) -> Option<&'static str> {
        self.killed
    }

    /// Notes how it ended, as its zygote reports it.
    pub fn note_end(&mut self, signal: i32, status: i32) {
        self.reported.get_or_insert((status & 0xff) << 8 | signal & 0x7f);
    }

    /// How it ended, as `wait(2)` encodes it; `None` if that is not known yet. The pidfd has it once the zygote
    /// has reaped the worker (Linux 6.15). Before that `/proc/PID/stat` has it, but shows 0 to a broker that may
    /// not trace the worker (`proc_pid_stat`, fs/proc/array.c), so 0 from there means nothing.
    #[must_use]
    pub fn wait_status(&self) -> Option<i32> {
        let zombie = || procfs::stat(self.pid).map(|stat| stat.exit_code).filter(|&code| code != 0);
        let reaped = || pidfd::exit_status(self.pidfd.as_fd());
        self.reported.or_else(reaped).or_else(zombie)
    }

    /// How it ended. If the kernel and the zygote do not report that: by SIGKILL if the broker killed it, else
    /// by the signal that its journal alleges.
    #[must_use]
    pub fn end(&self) -> End {
        match (self.wait_status(), self.killed) {
            (Some(status), _) if status & 0x7f == 0 => End::Exit(status >> 8 & 0xff),
            (Some(status), _) => End::Signal(status & 0x7f),
            (None, Some(_)) => End::Signal(Signal::SIGKILL as i32),
            (None, None) => {
                let alleged = self.sockets.journal[journal::SIGNAL].load(Ordering::Relaxed) as i32;
                Signal::try_from(alleged).map_or(End::Unknown, |signal| End::Signal(signal as i32))
            }
        }
    }

    /// Name of the call that the jail forbade it, as it alleges, if it died for one.
    #[must_use]
    pub fn forbidden_call(&self, end: End) -> Option<String> {
        let word = self.sockets.journal[journal::FORBIDDEN].load(Ordering::Relaxed);
        let by_filter = end == End::Signal(Signal::SIGSYS as i32);
        let (arch, number) = journal::forbidden(word).filter(|_| by_filter)?;
        Some(call_name(arch, number))
    }
}

/// Waits until `fd` is readable or hung up. Returns whether it is.
fn readable(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let end = Instant::now() + within;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(ready) => return ready > 0,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // ESRCH: it is dead already.
        let _ = pidfd::send_signal(self.pidfd.as_fd(), Signal::SIGKILL);
    }
}
