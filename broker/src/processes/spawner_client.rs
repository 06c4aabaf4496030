//! The broker's end of the spawner: orders that are carried out at once.

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

/// Longest that the spawner may take for a fork, milliseconds. It is trusted; this bounds a machine without memory.
const PATIENCE: u16 = 10_000;

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The spawner is gone or silent.
    #[error("the spawner does not answer: {0}")]
    Channel(#[from] ChannelError),
    /// It could not fork.
    #[error("the spawner cannot fork: {0}")]
    Fork(Errno),
    /// It could not make the zygote's control group.
    #[error("cannot make the workers' control group below that of --cgroup or the key `cgroup`: {}", .0.desc())]
    Group(Errno),
}

/// A process that was started.
#[derive(Debug)]
pub struct Spawned {
    /// Its id.
    pub pid: u32,
    /// The process.
    pub pidfd: OwnedFd,
}

impl Spawned {
    /// How it ended, as `wait(2)` would say it: from procfs until it is reaped, from the pidfd afterwards (Linux 6.15).
    #[must_use]
    pub fn end_status(&self) -> Option<i32> {
        let zombie = procfs::stat(self.pid).map(|stat| stat.exit_code);
        zombie.filter(|&code| code != 0).or_else(|| pidfd::exit_status(self.pidfd.as_fd()))
    }
}

/// The spawner.
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
    /// The spawner `pid`, a child of this process, over `socket`.
    #[must_use]
    pub fn new(socket: OwnedFd, pid: Pid) -> Self {
        SpawnerClient { channel: socket.into(), pid }
    }

    /// Closes the socket, by which the spawner ends, and waits for that. If it was killed its children have come to
    /// this process, and the tenant's with them if the tender was killed as well: they end here.
    pub fn end(self) {
        /// One that cannot end, in a file system that does not answer, is left after so many milliseconds.
        const ROUNDS: u32 = 2000;
        let SpawnerClient { channel, pid } = self;
        drop(channel);
        // It is reaped here or was before: either way it is gone.
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

    /// Has a process started.
    ///
    /// # Errors
    /// If the spawner is gone, silent or cannot fork.
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

/// Waits for a message, at most `milliseconds`.
///
/// # Errors
/// [`ChannelError::WouldBlock`] if none came; else as [`Channel::receive`].
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

/// Ends a helper and waits a little for it to be gone.
pub fn end(process: &Spawned) {
    let _ = pidfd::send_signal(process.pidfd.as_fd(), nix::sys::signal::Signal::SIGKILL);
    let _ = pidfd::wait_dead(process.pidfd.as_fd(), 1000);
}
