//! The broker's side of the spawner. Orders are executed synchronously.

use crate::processes::spawner::message::{Start, Started};
use crate::processes::spawner::tender::kill_children;
use crate::sys::pidfd;
use crate::sys::procfs;
use crate::sys::socket::{Channel, ChannelError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

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
        SpawnerClient { channel: socket.into(), pid }
    }

    /// Ends the spawner by closing the socket, and waits for it. If the spawner was killed, its children were reparented
    /// to this process, and so was the tenant if the tender was killed too: kills and reaps them.
    pub fn end(self) {
        /// Milliseconds after which a child is left that cannot end because a file system hangs.
        const ROUNDS: u32 = 2000;
        let SpawnerClient { channel, pid } = self;
        drop(channel);
        // An error means that it was reaped before.
        let _ = waitpid(pid, None);
        for _ in 0..ROUNDS {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {
                    kill_children();
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Starts a process.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start(&mut self, order: &Start, descriptors: &[&dyn AsFd]) -> Result<Spawned, SpawnError> {
        self.channel.send(order, descriptors)?;
        match receive_within(&mut self.channel, PATIENCE)? {
            (Started::Pid(pid), mut fds) => {
                let pidfd = fds.pop().ok_or(ChannelError::Truncated)?;
                Ok(Spawned { pid, pidfd })
            }
            (Started::Failed(errno), _) => Err(SpawnError::Fork(Errno::from_raw(errno))),
            (Started::NoGroup(errno), _) => Err(SpawnError::Group(Errno::from_raw(errno))),
        }
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
    let _ = pidfd::send_signal(process.pidfd.as_fd(), nix::sys::signal::Signal::SIGKILL);
    let _ = pidfd::wait_dead(process.pidfd.as_fd(), 1000);
}
