//! Pending calls: which calls of the tenant wait, which are in flight, and by when each must be answered.
//!
//! A call is in one of these states:
//!
//! - *waiting*: the kernel queues it until a process receives it from the listener;
//! - *in flight*: a worker received it; its slot shows it ([`kcov_proto::slot`]);
//! - *reassigned*: the broker has it, and gives it to the next worker ([`reassigned`]);
//! - *hidden*: somebody received it and no slot shows it ([`overdue`]).
//!
//! The part owns the listener. It takes nothing that a worker says for granted: ids are sequential, and the kernel
//! says of each id whether its call still waits for an answer.

pub mod overdue;
pub mod queue;
pub mod reassigned;

use crate::sys::listener;
use kcov_proto::Errno;
use kcov_proto::message::{NotificationId, Order, Response};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use overdue::Overdue;
use queue::QueueWatch;
use reassigned::{Due, Reassigned};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use tracing::{error, info};

/// Ids that are checked for hidden calls when a worker dies. Most deaths hide none, and each check costs a microsecond.
const PROBES_AT_DEATH: u64 = 1 << 7;
/// Most calls taken from the queue at a time. The tenant may add calls all the while.
const MAX_TAKEN: usize = 4096;

/// The pending calls of one tenant.
#[derive(Debug)]
pub struct PendingCalls {
    listener: OwnedFd,
    deadline: Duration,
    /// The highest id that was in flight when somebody named it.
    latest: Option<NotificationId>,
    waiting: QueueWatch,
    overdue: Overdue,
    /// Calls that the broker gives to workers.
    pub reassigned: Reassigned,
}

/// What one look at the listener showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Calls wait to be received.
    pub waiting: bool,
    /// Calls were received and wait for their answers.
    pub unanswered: bool,
}

impl PendingCalls {
    /// The calls of a listener that was just made.
    #[must_use]
    pub fn new(listener: OwnedFd, deadline: Duration) -> Self {
        PendingCalls {
            listener,
            deadline,
            latest: None,
            waiting: QueueWatch::default(),
            overdue: Overdue::default(),
            reassigned: Reassigned::new(deadline),
        }
    }

    /// The listener, for processes that receive from it.
    #[must_use]
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The highest id that was found in flight so far. No worker can make this an id that the kernel did not give.
    #[must_use]
    pub fn latest(&self) -> Option<NotificationId> {
        self.latest
    }

    /// Whether no process of the tenant is left.
    #[must_use]
    pub fn is_unused(&self) -> bool {
        self.polls(PollFlags::POLLHUP)
    }

    /// Whether the call was received and has no answer yet.
    #[must_use]
    pub fn is_in_flight(&self, id: NotificationId) -> bool {
        listener::id_valid(self.listener.as_fd(), id) == Ok(true)
    }

    /// Notes an id that somebody named, if it is in flight.
    pub fn note(&mut self, id: NotificationId) {
        let is_later = self.latest.is_none_or(|latest| id.wrapping_sub(latest).cast_signed() > 0);
        if is_later && self.is_in_flight(id) {
            self.latest = Some(id);
        }
    }

    /// Answers a call in place of a worker. Returns whether its caller was still waiting.
    pub fn answer(&self, id: NotificationId, answer: Response) -> bool {
        listener::send(self.listener.as_fd(), id, answer).unwrap_or_else(|errno| {
            error!(%errno, "cannot answer a call");
            false
        })
    }

    /// Answers a call with a new descriptor of `file`, in one step. Returns its number.
    ///
    /// # Errors
    /// `ENOENT` if the caller is gone; `EMFILE` if it has no descriptor left, and the call waits on.
    pub fn answer_with_descriptor(
        &self,
        id: NotificationId,
        file: BorrowedFd<'_>,
        close_on_exec: bool,
    ) -> Result<i32, Errno> {
        listener::add_fd_send(self.listener.as_fd(), id, file, close_on_exec)
            .map_err(|errno| Errno(errno as i32))
    }

    /// Forgets reassigned calls that have their answers.
    pub fn forget_answered(&mut self) {
        let listener = self.listener.as_fd();
        self.reassigned.forget_answered(|id| listener::id_valid(listener, id) == Ok(true));
    }

    /// Puts a descriptor of `file` at the number `fd` of the caller, in the place of the descriptor there.
    ///
    /// # Errors
    /// `ENOENT` if the caller is gone; `EBADF` if the number is above the caller's limit.
    pub fn replace_descriptor(
        &self,
        id: NotificationId,
        file: BorrowedFd<'_>,
        fd: i32,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        listener::set_fd(self.listener.as_fd(), id, file, fd, close_on_exec)
            .map_err(|errno| Errno(errno as i32))
    }

    /// Looks at the listener and notes what it shows. `shown`: the ids in the workers' slots.
    pub fn look(&mut self, shown: &[NotificationId], now: Instant) -> Look {
        let look = Look { waiting: self.has_waiting(), unanswered: self.has_unanswered() };
        for &id in shown.iter().filter(|id| **id != 0) {
            self.note(id);
        }
        self.waiting.look(look.waiting, self.latest, now);
        if let Some(latest) = self.latest {
            self.overdue.look(latest, look.unanswered, now, self.deadline);
        }
        look
    }

    /// Whether calls have waited for `time` and none was received meanwhile.
    #[must_use]
    pub fn waited(&self, time: Duration, now: Instant) -> bool {
        self.waiting.lasts(time, now)
    }

    /// Receives the calls that wait. To be called only while no worker may receive them. Those that `keep` wants are
    /// reassigned; returns the others.
    pub fn take_waiting(&mut self, now: Instant, keep: impl Fn(&Order) -> bool) -> Vec<Order> {
        let mut others = Vec::new();
        let due = Due::of_waiting(self.waiting.made_after(now), now, self.deadline);
        let mut taken = 0;
        while taken < MAX_TAKEN && self.has_waiting() {
            match listener::receive(self.listener.as_fd()) {
                Ok(Some(notification)) => {
                    let libc::seccomp_notif { id, pid, data, .. } = notification;
                    let order =
                        Order::Call { id, tid: pid, arch: data.arch, number: data.nr, args: data.args };
                    match keep(&order) {
                        true => self.reassigned.add(id, order, due),
                        false => others.push(order),
                    }
                    self.note(id);
                    taken += 1;
                }
                // The caller is gone.
                Ok(None) => break,
                Err(errno) => {
                    error!(%errno, "cannot receive the calls that wait");
                    break;
                }
            }
        }
        if taken < MAX_TAKEN {
            self.waiting.look(false, self.latest, now);
        }
        if taken > 0 {
            info!(event = "untaken", calls = taken, "queued calls received while there is no worker");
        }
        others
    }

    /// Calls that a dead worker may have hidden: in flight, and neither `shown` by another worker's slot nor reassigned.
    /// Checks a bounded number of ids after the latest one; the others are found once they are overdue.
    #[must_use]
    pub fn hidden(&self, shown: &[NotificationId]) -> Vec<NotificationId> {
        let Some(latest) = self.latest.filter(|_| self.has_unanswered()) else { return Vec::new() };
        let ids = (0..PROBES_AT_DEATH).map(|step| latest.wrapping_add(step));
        ids.filter(|id| !shown.contains(id) && self.is_lost(*id)).collect()
    }

    /// Calls that were received two deadlines ago and still have no answer.
    pub fn take_overdue(&mut self, now: Instant) -> Vec<NotificationId> {
        let Some((first, count)) = self.overdue.take(now, self.deadline) else { return Vec::new() };
        let ids = (0..count).map(|step| first.wrapping_add(step));
        // A reassigned call has a deadline of its own.
        ids.filter(|id| self.is_lost(*id)).collect()
    }

    fn is_lost(&self, id: NotificationId) -> bool {
        !self.reassigned.has(id) && self.is_in_flight(id)
    }

    fn has_waiting(&self) -> bool {
        self.polls(PollFlags::POLLIN)
    }

    /// Whether a call was received and not answered (`seccomp_notify_poll`, kernel/seccomp.c, Linux 6.12).
    fn has_unanswered(&self) -> bool {
        self.polls(PollFlags::POLLOUT)
    }

    fn polls(&self, event: PollFlags) -> bool {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT)];
        let polled = poll(&mut fds, PollTimeout::ZERO);
        matches!(polled, Ok(1..)) && fds[0].revents().is_some_and(|events| events.contains(event))
    }
}
