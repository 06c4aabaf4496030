//! A reader as the broker sees it: for which worker it reads, what it is at, and what waits for it.

use crate::processes::reader::{BUSY, RUNS, SERVED};
use crate::sys::pidfd;
use crate::sys::shared::SharedWords;
use crate::sys::socket::Channel;
use kcov_proto::message::{MAX_BYTES, NotificationId, ReaderRequest, decode};
use kcov_proto::sync::Ordering;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, Shutdown, recv, shutdown};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// A request that a reader has not begun, decoded and as it was sent.
pub type Waiting = (ReaderRequest, Vec<u8>);

/// One reader.
#[derive(Debug)]
pub struct Reader {
    /// `None` until the spawner has started it.
    pidfd: Option<OwnedFd>,
    /// Calls that it passes on come here.
    pub(super) channel: Channel,
    /// Its own end of the socket from the worker. Requests that it has not begun are taken from there.
    requests: OwnedFd,
    busy: SharedWords,
    worker: u32,
    /// At the last change: the notification that it was at, and how many it had served.
    seen: (NotificationId, u64),
    /// When that changed last.
    since: Instant,
    /// Another reader has taken its place, while it is still at one call.
    pub(super) is_replaced: bool,
}

impl Reader {
    /// A reader that was ordered for `worker`.
    #[must_use]
    pub fn new(channel: Channel, requests: OwnedFd, busy: SharedWords, worker: u32, now: Instant) -> Self {
        Reader { pidfd: None, channel, requests, busy, worker, seen: (0, 0), since: now, is_replaced: false }
    }

    /// The spawner has started it.
    pub fn started(&mut self, pidfd: OwnedFd) {
        self.pidfd = Some(pidfd);
    }

    /// The worker that it reads for.
    #[must_use]
    pub fn worker(&self) -> u32 {
        self.worker
    }

    /// The notification that it is at, 0 for none.
    #[must_use]
    pub fn busy(&self) -> NotificationId {
        self.busy[BUSY].load(Ordering::Acquire)
    }

    /// Whether the kernel is to run the call that it is at, should it fail.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.busy[RUNS].load(Ordering::Relaxed) != 0
    }

    fn has_waiting(&self) -> bool {
        let mut fds = [PollFd::new(self.requests.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
    }

    /// Whether it is at one request while others wait. A reader that has begun none only waits for the processor, as
    /// another reader would.
    #[must_use]
    pub fn holds_up_others(&self) -> bool {
        self.busy() != 0 && self.has_waiting()
    }

    /// How long it has been at the same request, or has left requests waiting.
    pub fn stalled(&mut self, now: Instant) -> Duration {
        let seen = (self.busy(), self.busy[SERVED].load(Ordering::Relaxed));
        let is_idle = seen.0 == 0 && !self.has_waiting();
        if is_idle || seen != self.seen {
            (self.seen, self.since) = (seen, now);
        }
        now.saturating_duration_since(self.since)
    }

    /// Kills it. Its death is handled when its pidfd becomes readable.
    pub fn kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            // ESRCH: it is dead already.
            let _ = pidfd::send_signal(pidfd.as_fd(), Signal::SIGKILL);
        }
    }

    /// Takes the requests that it has not begun and that no worker waits for. No request can follow them.
    pub fn take_waiting(&self) -> Vec<Waiting> {
        // From here on the worker's sends fail, and it asks for another reader.
        let _ = shutdown(self.requests.as_raw_fd(), Shutdown::Both);
        let mut waiting = Vec::new();
        let mut buffer = vec![0; MAX_BYTES];
        while let Ok(length @ 1..) = recv(self.requests.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            let bytes = &buffer[..length];
            // A worker that waits for a reply notices that the socket is closed, and asks the next reader.
            if let Ok(request) = decode::<ReaderRequest>(bytes)
                && !request.what.wants_reply()
            {
                waiting.push((request, bytes.to_vec()));
            }
        }
        waiting
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.kill();
    }
}
