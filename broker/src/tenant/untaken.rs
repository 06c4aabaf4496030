//! Calls that no worker takes, or that one keeps whatever it says of itself.
//!
//! A call waits in the kernel's queue until a worker takes it. Where the worker is stuck with another call, or the next one
//! does not come up, that could be long, and the queue does not tell how long it was. So the broker takes the calls that
//! wait when a worker dies, and those that have waited for a quarter of the deadline while there is none. It gives them to
//! the next worker, and has them fail when their time is over: the deadline, or a quarter of it if they have waited behind
//! a worker that was ended. Of calls that wait it is known that they were made since the queue was last seen, or made, empty.
//! So that bound holds, however many workers die one after the other before they come to a call.

use crate::sys::listener;
use crate::tenant::Tenant;
use crate::tenant::retries::Due;
use kcov_proto::message::{NotificationId, Order};
use nix::poll::PollFlags;
use nix::sys::signal::Signal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// Longest that the zygote may take for a fork.
const FORK: Duration = Duration::from_secs(5);
/// Longest that the successor of one that ended may take, which loads the handlers first.
const LOAD: Duration = Duration::from_secs(30);

/// Why workers are ended that leave a call unanswered.
pub const KEEPS: &str = "it keeps a call";
/// Most calls that are taken at a time: a tenant may make more all the while.
const MOST: usize = 4096;

/// What looks at the listener showed: of calls that wait to be taken, or of those that were and wait for their answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untaken {
    since: Option<Instant>,
    last: Option<NotificationId>,
    /// When none waited.
    none: Option<Instant>,
}

impl Untaken {
    /// A look: whether calls wait, and the last one that is known to have been taken. That is the kernel's word, which no
    /// worker can change.
    pub fn look(&mut self, waiting: bool, last: Option<NotificationId>, now: Instant) {
        if !waiting || last != self.last {
            self.since = None;
        }
        self.last = last;
        match waiting {
            true => drop(self.since.get_or_insert(now)),
            false => self.none = Some(now),
        }
    }

    /// The time after which the calls that wait `now` were made, as far as that is known.
    fn made_after(&self, now: Instant) -> Instant {
        self.none.or(self.since).unwrap_or(now)
    }

    fn is_over(&self, time: Duration, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= time)
    }
}

/// How long a call that is taken late has at least.
pub fn grace(deadline: Duration) -> Duration {
    deadline / 4
}

impl Tenant {
    /// A look shows whether calls wait to be taken, and for their answers: ends what is to blame if that goes on.
    pub(crate) fn look_at_untaken(
        &mut self,
        waiting: bool,
        unanswered: bool,
        now: Instant,
        deadline: Duration,
    ) {
        self.untaken.look(waiting, self.last_id, now);
        self.unanswered.look(unanswered, self.last_id, now);
        // A worker that shows what it does is ended sooner.
        let reason = match 2 * deadline {
            time if self.untaken.is_over(time, now) => Some("it takes no call"),
            time if self.unanswered.is_over(time, now) => Some(KEEPS),
            _ => None,
        };
        if let Some(reason) = reason {
            self.end_workers(reason);
        }
        let patience = if self.zygote_ready { FORK } else { LOAD };
        if self.expected.as_ref().is_some_and(|expected| now - expected.since >= patience) {
            warn!(
                event = "zygote_stuck",
                pid = self.zygote.pid,
                "the zygote does not fork: a new one starts"
            );
            // Its end is an event of its own. ESRCH: it was quicker.
            let _ = crate::sys::pidfd::send_signal(self.zygote.pidfd.as_fd(), Signal::SIGKILL);
        }
        self.take_untaken(now, deadline);
    }

    /// Ends all workers, for `reason`: one of them is to blame, and which one it does not show.
    pub(crate) fn end_workers(&mut self, reason: &'static str) {
        self.workers.values_mut().for_each(|worker| worker.kill(reason));
    }

    /// Takes the calls that have waited too long, if there is no worker that may still take them.
    fn take_untaken(&mut self, now: Instant, deadline: Duration) {
        if self.untaken.is_over(grace(deadline), now) {
            self.take_waiting(now, deadline);
        }
    }

    /// Takes the calls that wait, if there is no worker that may still take them.
    pub(crate) fn take_waiting(&mut self, now: Instant, deadline: Duration) {
        if !self.workers.is_empty() {
            return;
        }
        let due = Due::of_untaken(self.untaken.made_after(now), now, deadline);
        let mut taken = 0;
        while taken < MOST && self.listener_says(PollFlags::POLLIN) {
            match listener::receive(self.listener.as_fd()) {
                Ok(Some(notification)) => {
                    let libc::seccomp_notif { id, pid, data, .. } = notification;
                    let (arch, number, args) = (data.arch, data.nr, data.args);
                    self.retries.begin(id, Order::Call { id, tid: pid, arch, number, args }, due);
                    self.saw(id);
                    taken += 1;
                }
                // The caller is gone; or somebody who should not has the listener, and was quicker.
                Ok(None) => break,
                Err(errno) => {
                    error!(%errno, "cannot take calls that no worker takes");
                    break;
                }
            }
        }
        if taken < MOST {
            self.untaken.look(false, self.last_id, now);
        }
        if taken > 0 {
            info!(event = "untaken", calls = taken, "calls that no worker took wait for the next one");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_wait_from_the_first_look_that_shows_them_until_one_is_taken() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut untaken = Untaken::default();
        untaken.look(false, None, at(0));
        assert_eq!(untaken.since, None);
        untaken.look(true, Some(7), at(1));
        untaken.look(true, Some(7), at(2));
        assert_eq!(untaken.since, Some(at(1)));
        untaken.look(true, Some(8), at(3));
        assert_eq!(untaken.since, Some(at(3)));
        untaken.look(false, Some(8), at(4));
        assert_eq!(untaken.since, None);
    }

    #[test]
    fn calls_were_made_since_none_waited_whatever_was_taken() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut untaken = Untaken::default();
        assert_eq!(untaken.made_after(at(0)), at(0));
        untaken.look(true, Some(7), at(1));
        assert_eq!(untaken.made_after(at(2)), at(1), "nothing else is known");
        untaken.look(false, Some(7), at(3));
        untaken.look(true, Some(8), at(4));
        untaken.look(true, Some(9), at(5));
        assert_eq!(untaken.made_after(at(6)), at(3));
    }
}
