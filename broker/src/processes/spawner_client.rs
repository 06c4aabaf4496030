//! The broker's side of the spawner. Orders are executed in their order; while there is a tenant, the broker does not wait
//! for the reply.

use crate::processes::ending::{AGAIN_TIME, Survivors, end_children};
use crate::processes::spawner::message::{Start, Started};
use crate::sys::pidfd;
use crate::sys::procfs;
use crate::sys::socket::{Channel, ChannelError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Time limit for a reply of the spawner, in milliseconds. The spawner is trusted, but a machine without free memory may
/// be slow.
const PATIENCE: u16 = 10_000;

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The spawner is gone or did not reply in time.
    #[error("the spawner does not answer: {0}")]
    Channel(#[from] ChannelError),
    /// fork failed.
    #[error("the spawner cannot fork: {0}")]
    Fork(Errno),
    /// Creating the zygote's control group failed.
    #[error("cannot create the control group of the workers below the one of --cgroup or the key `cgroup`: {}", .0.desc())]
    Group(Errno),
}

/// A process that the spawner started.
#[derive(Debug)]
pub struct Spawned {
    /// Its pid.
    pub pid: u32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

impl Spawned {
    /// The wait status of the dead process: from procfs until it is reaped, then from the pidfd (since Linux 6.15).
    #[must_use]
    pub fn end_status(&self) -> Option<i32> {
        let zombie = procfs::stat(self.pid).map(|stat| stat.exit_code);
        zombie.filter(|&code| code != 0).or_else(|| pidfd::exit_status(self.pidfd.as_fd()))
    }
}

/// The connection to the spawner.
#[derive(Debug)]
pub struct SpawnerClient {
    channel: Channel,
    pid: Pid,
    /// What was ordered and has no reply, with the time of the order.
    ordered: VecDeque<(Ordered, Instant)>,
}

/// A process that was ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// The next zygote.
    Zygote,
    /// This reader.
    Reader(u32),
    /// The writer of an artifact.
    Artifact,
    /// The process that records sightings.
    Sightings,
}

impl AsFd for SpawnerClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl SpawnerClient {
    /// Connects to the spawner `pid`, a child of this process.
    #[must_use]
    pub fn new(socket: OwnedFd, pid: Pid) -> Self {
        SpawnerClient { channel: socket.into(), pid, ordered: VecDeque::new() }
    }

    /// Ends the spawner by closing the socket, and waits for it. If it was killed, or does not end, its children become those
    /// of this process, which kills and reaps them.
    ///
    /// # Errors
    /// The processes that cannot be ended.
    pub fn end(self) -> Result<(), Survivors> {
        let SpawnerClient { channel, pid, .. } = self;
        drop(channel);
        end_children(Some(pid.as_raw().cast_unsigned()), AGAIN_TIME, |_| true)
    }

    /// Starts a process and waits until it is there. Only before there is a tenant: nobody is served meanwhile.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start_and_wait(
        &mut self,
        order: &Start,
        descriptors: &[&dyn AsFd],
    ) -> Result<Spawned, SpawnError> {
        self.channel.send(order, descriptors)?;
        spawned(receive_within(&mut self.channel, PATIENCE)?)
    }

    /// Orders a process, which [`receive`](Self::receive) returns later under the name `what`. Replies come in the order of
    /// the orders.
    ///
    /// # Errors
    /// If the spawner is gone, or has not taken earlier orders.
    pub fn start(
        &mut self,
        order: &Start,
        descriptors: &[&dyn AsFd],
        what: Ordered,
    ) -> Result<(), SpawnError> {
        self.channel.try_send(order, descriptors)?;
        self.ordered.push_back((what, Instant::now()));
        Ok(())
    }

    /// Takes one reply: what was ordered, and its process.
    ///
    /// # Errors
    /// As [`Channel::try_receive`].
    pub fn receive(&mut self) -> Result<(Ordered, Result<Spawned, SpawnError>), ChannelError> {
        let reply = self.channel.try_receive::<Started>()?;
        let (what, _) = self.ordered.pop_front().ok_or(ChannelError::Truncated)?;
        Ok((what, spawned(reply)))
    }

    /// As [`receive`](Self::receive), waiting until `end`. For the end of a run.
    pub fn receive_until(&mut self, end: Instant) -> Option<(Ordered, Result<Spawned, SpawnError>)> {
        let left = end.saturating_duration_since(Instant::now()).as_millis();
        let mut fds = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX))) {
            Ok(1..) => self.receive().ok(),
            Ok(_) | Err(_) => None,
        }
    }

    /// Returns whether it owes no reply, or has owed one for longer than `moment`.
    #[must_use]
    pub fn is_idle_or_slow(&self, moment: Duration) -> bool {
        self.ordered.front().is_none_or(|(_, since)| since.elapsed() > moment)
    }

    /// Returns whether it has not replied to an order for too long.
    #[must_use]
    pub fn is_late(&self, now: Instant) -> bool {
        let patience = Duration::from_millis(PATIENCE.into());
        self.ordered.front().is_some_and(|(_, since)| now.saturating_duration_since(*since) >= patience)
    }

    /// Kills it. Its end is an event of its own.
    pub fn kill(&self) {
        // The pid cannot be reused: only this process reaps it, at its own end.
        let _ = kill(self.pid, Signal::SIGKILL);
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }
}

fn spawned((reply, mut fds): (Started, Vec<OwnedFd>)) -> Result<Spawned, SpawnError> {
    match reply {
        Started::Pid(pid) => {
            let pidfd = fds.pop().ok_or(ChannelError::Truncated)?;
            Ok(Spawned { pid, pidfd })
        }
        Started::Failed(errno) => Err(SpawnError::Fork(Errno::from_raw(errno))),
        Started::NoGroup(errno) => Err(SpawnError::Group(Errno::from_raw(errno))),
    }
}

/// Waits for a message for at most `milliseconds`.
///
/// # Errors
/// [`ChannelError::WouldBlock`] after the timeout; otherwise those of [`Channel::receive`].
pub fn receive_within<T: serde::de::DeserializeOwned>(
    channel: &mut Channel,
    milliseconds: u16,
) -> Result<(T, Vec<OwnedFd>), ChannelError> {
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(milliseconds)) {
        Ok(0) => Err(ChannelError::WouldBlock),
        Ok(_) | Err(Errno::EINTR) => channel.receive(),
        Err(errno) => Err(ChannelError::System { call: "poll", errno }),
    }
}

/// Kills a helper and waits up to a second until it is dead.
pub fn end(process: &Spawned) {
    let _ = pidfd::send_signal(process.pidfd.as_fd(), Signal::SIGKILL);
    let _ = pidfd::wait_dead(process.pidfd.as_fd(), 1000);
}
