//! The zygote: jailed once, it forks a tenant's workers on the broker's request.
//!
//! It has one thread and never serves a call itself, so a fork of it is cheap and holds no lock.

use crate::assist::Assistants;
use crate::context::Context;
use crate::device::Device;
use crate::dispatch::Dispatch;
use crate::handler::Trace;
use crate::jail::{self, JailConfig, JailError, WorkerJail};
use crate::serve::serve;
use crate::sys::fork;
use crate::sys::shared::SharedWords;
use crate::sys::socket::{Channel, ChannelError, inherited};
use crate::trace::{self, Tracer};
use kcov_proto::message::{ZygoteReply, ZygoteRequest};
use kcov_proto::{Errno, roster, slot};
use nix::errno::Errno as SysErrno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

/// Descriptor number of the zygote's socket, as the spawner leaves it.
const SOCKET: i32 = 3;

/// What the spawner tells a zygote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZygoteConfig {
    /// uid and gid to become.
    pub uid: u32,
    /// Process that started it.
    pub parent: u32,
}

/// Why a zygote ends before its broker does.
#[derive(Debug, thiserror::Error)]
pub enum ZygoteError {
    /// It has no socket: it was not started by the broker.
    #[error("descriptor {SOCKET} is no socket: this program is started by kcov-broker")]
    Socket(SysErrno),
    /// It could not be jailed.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// The socket failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A system call failed.
    #[error("{call}: {errno}")]
    System {
        /// Its name.
        call: &'static str,
        /// What it said.
        errno: SysErrno,
    },
}

/// Runs as a zygote until the broker is gone.
///
/// # Errors
/// [`ZygoteError`].
pub fn run(config: &ZygoteConfig) -> Result<(), ZygoteError> {
    let mut broker = Channel::from(inherited(SOCKET).map_err(ZygoteError::Socket)?);
    let _ = nix::sys::prctl::set_name(c"kcov-zygote");
    let tracer = Rc::new(Tracer::new());
    // Without a handler the signal would not interrupt the wait below.
    signal_hook::flag::register(signal_hook::consts::SIGCHLD, Arc::default())
        .map_err(|_| ZygoteError::System { call: "sigaction", errno: SysErrno::last() })?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().map_err(|errno| ZygoteError::System { call: "sigprocmask", errno })?;
    let jail = jail::enter_zygote(&JailConfig {
        uid: config.uid,
        gid: config.uid,
        parent: config.parent,
        keep: vec![SOCKET],
    })?;
    broker.send(&ZygoteReply::Ready)?;
    loop {
        report_ended(&mut broker)?;
        let mut fds = [PollFd::new(broker.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, None, Some(SigSet::empty())) {
            Ok(_) => {}
            Err(SysErrno::EINTR) => continue,
            Err(errno) => return Err(ZygoteError::System { call: "ppoll", errno }),
        }
        match broker.receive::<ZygoteRequest>() {
            Ok((ZygoteRequest::Fork { index: _ }, descriptors)) => {
                let reply = fork_worker(descriptors, &tracer, &jail);
                broker.send(&reply)?;
            }
            Err(ChannelError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Tells the broker which workers ended, and how.
fn report_ended(broker: &mut Channel) -> Result<(), ChannelError> {
    loop {
        let (pid, signal, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, 0, status),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, signal as i32, 0),
            Ok(WaitStatus::StillAlive) | Err(SysErrno::ECHILD) => return Ok(()),
            Ok(_) | Err(_) => continue,
        };
        broker.send(&ZygoteReply::Exited { pid: pid.as_raw() as u32, signal, status })?;
    }
}

fn fork_worker(descriptors: Vec<OwnedFd>, tracer: &Rc<Tracer>, jail: &WorkerJail) -> ZygoteReply {
    let Ok(descriptors) = <[OwnedFd; 5]>::try_from(descriptors) else {
        return ZygoteReply::Failed(Errno::EPROTO);
    };
    match fork::child(|| work(descriptors, tracer.clone(), jail)) {
        Ok(pid) => ZygoteReply::Forked { pid: pid.as_raw() as u32 },
        Err(errno) => ZygoteReply::Failed(Errno(errno as i32)),
    }
}

/// Runs as a worker. Returns the exit status.
fn work(descriptors: [OwnedFd; 5], tracer: Rc<Tracer>, jail: &WorkerJail) -> i32 {
    let [listener, broker, reader, slot_file, roster_file] = descriptors;
    let _ = nix::sys::prctl::set_name(c"kcov-worker");
    fork::close(SOCKET);
    if jail.enter().is_err() {
        return 3;
    }
    let (Ok(slot), Ok(roster)) = (
        SharedWords::map(&slot_file, slot::WORDS, true),
        SharedWords::map(&roster_file, roster::WORDS, false),
    ) else {
        return 4;
    };
    drop((slot_file, roster_file));
    let mut assistants = Assistants::new(broker.into(), reader.into());
    if assistants.ready(trace::heartbeat_records()).is_err() {
        return 5;
    }
    let device = Device::new(tracer.clone());
    let dispatch = Dispatch::new(vec![Box::new(device), Box::new(Trace(tracer.clone()))], tracer);
    match serve(&listener, dispatch, Context::new(slot, roster, assistants)) {
        Ok(never) => match never {},
        Err(_) => 0,
    }
}
