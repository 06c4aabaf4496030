//! The tenant's zygote: it has loaded the handlers, and forks the workers.

use crate::processes::spawner_client::Spawned;
use crate::sys::pidfd;
use crate::sys::process::pidfd_open;
use crate::sys::procfs;
use crate::sys::socket::{Channel, ChannelError};
use kcov_proto::message::{LoadedModule, ZygoteReply, ZygoteRequest};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One zygote.
#[derive(Debug)]
pub struct Zygote {
    process: Spawned,
    channel: Channel,
    modules: Vec<LoadedModule>,
    is_ready: bool,
}

impl Zygote {
    /// A zygote that has reported that it is ready, with what it loaded.
    #[must_use]
    pub fn ready(process: Spawned, channel: Channel, modules: Vec<LoadedModule>) -> Self {
        Zygote { process, channel, modules, is_ready: true }
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Spawned {
        &self.process
    }

    /// Its socket, to be polled.
    #[must_use]
    pub fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// Programs and libraries in its memory, and in that of its workers.
    #[must_use]
    pub fn modules(&self) -> &[LoadedModule] {
        &self.modules
    }

    /// Whether it has loaded its handlers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Asks for a worker. A zygote that is gone is no error here: its end is an event of its own.
    ///
    /// # Errors
    /// As [`Channel::try_send`].
    pub fn fork(&mut self, index: u32, descriptors: &[&dyn AsFd]) -> Result<(), ChannelError> {
        match self.channel.try_send(&ZygoteRequest::Fork { index }, descriptors) {
            Ok(()) | Err(ChannelError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes one message from its socket.
    ///
    /// # Errors
    /// As [`Channel::try_receive`].
    pub fn receive(&mut self) -> Result<ZygoteReply, ChannelError> {
        self.channel.try_receive::<ZygoteReply>().map(|(reply, _)| reply)
    }

    /// It reports what it loaded.
    pub fn loaded(&mut self, modules: Vec<LoadedModule>) {
        self.modules = modules;
    }

    /// It reports that it is ready.
    pub fn is_ready_now(&mut self) {
        self.is_ready = true;
    }

    /// A pidfd of `pid`, which the zygote says is its child. It is checked, so that a zygote that was taken over cannot
    /// make the broker kill another process.
    ///
    /// # Errors
    /// `ESRCH` if it is not a living child of the zygote.
    pub fn child(&self, pid: u32) -> Result<OwnedFd, Errno> {
        let pidfd = pidfd_open(pid, false)?;
        let parent = procfs::stat(pid).map(|stat| stat.parent);
        // The process was alive after the look, so the look was at the process of this pidfd.
        if parent == Some(self.process.pid) && !pidfd::is_dead(pidfd.as_fd()) {
            Ok(pidfd)
        } else {
            Err(Errno::ESRCH)
        }
    }

    /// Kills it. Its end is an event of its own.
    pub fn kill(&self) {
        // ESRCH: it is dead already.
        let _ = pidfd::send_signal(self.process.pidfd.as_fd(), Signal::SIGKILL);
    }

    /// Replaces it by the next one, which was ordered. Returns whether the old one had loaded its handlers.
    pub fn replace(&mut self, channel: Channel) -> bool {
        self.kill();
        self.channel = channel;
        std::mem::take(&mut self.is_ready)
    }

    /// The spawner has started the next one.
    pub fn started(&mut self, process: Spawned) {
        self.process = process;
    }
}
