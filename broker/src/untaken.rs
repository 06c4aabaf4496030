//! Calls that no worker takes, or that one keeps whatever it says of itself.
//!
//! A call waits in the kernel's queue until a worker takes it. Where the worker is stuck with another call, or the next one
//! does not come up, that could be long, and the queue does not tell how long it was. So it is looked at: calls that
//! have waited for a quarter of the deadline, while there is no worker, are taken by the broker. It gives them to the
//! next worker, and has them fail when their time is over: the deadline, or a quarter of it if they have waited behind
//! a worker that was ended.

use crate::sys::listener;
use crate::tenant::Tenant;
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

/// Most calls that are taken at a time: a tenant may make more all the while.
const MOST: usize = 4096;

/// What looks at the listener showed: of calls that wait to be taken, or of those that were and wait for their answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untaken {
    since: Option<Instant>,
    last: Option<NotificationId>,
}

impl Untaken {
    /// A look: whether calls wait, and the last one that is known to have been taken. That is the kernel's word, which no
    /// worker can change.
    pub fn look(&mut self, waiting: bool, last: Option<NotificationId>, now: Instant) {
        if !waiting || last != self.last {
            self.since = None;
        }
        self.last = last;
        if waiting {
            self.since.get_or_insert(now);
        }
    }

    /// Since when calls have waited and none was taken.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    fn is_over(&self, time: Duration, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= time)
    }
}

/// When calls that nobody has taken `since` then are to have an answer, if they are to be taken `now`.
fn due(since: Instant, now: Instant, deadline: Duration) -> Option<Instant> {
    let grace = deadline / 4;
    (now.saturating_duration_since(since) >= grace).then(|| (since + deadline).max(now + grace))
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
            time if self.unanswered.is_over(time, now) => Some("it keeps a call"),
            _ => None,
        };
        if let Some(reason) = reason {
            self.workers.values_mut().for_each(|worker| worker.kill(reason));
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

    /// Takes the calls that have waited too long, if there is no worker that may still take them.
    pub(crate) fn take_untaken(&mut self, now: Instant, deadline: Duration) {
        let due = self.untaken.since().and_then(|since| due(since, now, deadline));
        let Some(due) = due.filter(|_| self.workers.is_empty()) else { return };
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
        if taken > 0 {
            info!(event = "untaken", calls = taken, "calls that no worker took wait for the next one");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(4);

    #[test]
    fn calls_wait_from_the_first_look_that_shows_them_until_one_is_taken() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut untaken = Untaken::default();
        untaken.look(false, None, at(0));
        assert_eq!(untaken.since(), None);
        untaken.look(true, Some(7), at(1));
        untaken.look(true, Some(7), at(2));
        assert_eq!(untaken.since(), Some(at(1)));
        untaken.look(true, Some(8), at(3));
        assert_eq!(untaken.since(), Some(at(3)));
        untaken.look(false, Some(8), at(4));
        assert_eq!(untaken.since(), None);
    }

    #[test]
    fn a_call_has_its_deadline_or_a_quarter_of_one_more() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(due(at(0), at(0), DEADLINE), None);
        assert_eq!(due(at(0), at(1), DEADLINE), Some(at(4)));
        assert_eq!(due(at(0), at(4), DEADLINE), Some(at(5)));
        assert_eq!(due(at(0), at(9), DEADLINE), Some(at(10)));
    }
}
