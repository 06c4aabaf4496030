//! The zygote: loads the handlers and confines itself once, then forks workers when the broker asks.
//!
//! It has one thread and never serves a call, so forking is cheap and no lock can be held during it.

mod fork;

use crate::handler::Handler;
use crate::handlers::Handlers;
use crate::jail::limits::Memory;
use crate::jail::{self, JailConfig, JailError, WorkerJail};
use crate::loading::{self, Library, LoadError};
use crate::record::Scope;
use crate::sys::shared::SharedWords;
use crate::sys::socket::{Channel, ChannelError};
use crate::sys::{crash, modules};
use crate::text;
use crate::trace::Tracer;
use fork::Zygote;
use kcov_proto::cover_map::{self, CoverMap};
use kcov_proto::message::{LoadedModule, ZygoteReply, ZygoteRequest};
use kcov_sys::descriptors::inherited;
use nix::errno::Errno as SysErrno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;
use std::sync::Arc;

/// Descriptor number of the socket to the broker. The spawner puts it there.
const SOCKET: i32 = 3;
/// Descriptor number of the coverage map.
const COVER: i32 = 4;

/// Command-line options of a zygote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZygoteConfig {
    /// uid and gid to switch to.
    pub uid: u32,
    /// Process id of the process that started the zygote.
    pub parent: u32,
    /// Most bytes of data of the zygote and of each worker.
    pub memory: Option<u64>,
    /// Most bytes of all areas of the tenant.
    pub areas: u64,
    /// Whether there is a coverage map for the workers to mark.
    pub cover: bool,
    /// Whether to add the handler that `kcov-broker bench` measures.
    pub bench: bool,
    /// Handler libraries, loaded in this order after the program's own handlers.
    pub libraries: Vec<Library>,
}

/// Why a zygote exits before its broker does.
#[derive(Debug, thiserror::Error)]
pub enum ZygoteError {
    /// Descriptor 3 is not a socket: the program was not started by the broker.
    #[error("descriptor {SOCKET} is not a socket: this program must be started by kcov-broker")]
    Socket(SysErrno),
    /// It could not be confined.
    #[error(transparent)]
    Jail(#[from] JailError),
    /// A handler could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The socket to the broker failed.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// A system call failed.
    #[error("{call}: {errno}")]
    System {
        /// Name of the call.
        call: &'static str,
        /// Its errno.
        errno: SysErrno,
    },
    /// The error was already reported to the broker, which shows it to its user.
    #[error("the error was reported to the broker")]
    Reported,
}

/// Runs as a zygote with these built-in handlers until the broker closes the socket.
///
/// # Errors
/// [`ZygoteError`].
pub fn run(config: &ZygoteConfig, handlers: Vec<Box<dyn Handler>>) -> Result<(), ZygoteError> {
    if !config.cover {
        return serve_broker(config, handlers);
    }
    // Workers inherit the mapping and its registration.
    let map = inherited(COVER).and_then(|file| SharedWords::map(file, cover_map::BYTES / 8, true));
    let map = map.map_err(|errno| ZygoteError::System { call: "mmap of the coverage map", errno })?;
    let Ok(bytes) = map.bytes().try_into() else { unreachable!("the map has the size it was mapped with") };
    Scope::cover(CoverMap::new(bytes), || serve_broker(config, handlers))
}

fn serve_broker(config: &ZygoteConfig, handlers: Vec<Box<dyn Handler>>) -> Result<(), ZygoteError> {
    let mut broker = Channel::from(inherited(SOCKET).map_err(ZygoteError::Socket)?);
    let _ = nix::sys::prctl::set_name(c"kcov-zygote");
    let tracer = Rc::new(Tracer::new());
    // Without a handler, SIGCHLD would not interrupt the wait below.
    signal_hook::flag::register(signal_hook::consts::SIGCHLD, Arc::default())
        .map_err(|_| ZygoteError::System { call: "sigaction", errno: SysErrno::last() })?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().map_err(|errno| ZygoteError::System { call: "sigprocmask", errno })?;
    let (jail, (handlers, modules)) = match enter_jail(config, handlers, &mut broker) {
        Err(ZygoteError::Load(error)) => {
            let message = text::truncate(&error.to_string());
            broker.send(&ZygoteReply::Refused { message }, &[])?;
            return Err(ZygoteError::Reported);
        }
        Err(ZygoteError::Jail(error)) => {
            broker.send(&ZygoteReply::Unjailed { message: text::truncate(&error.to_string()) }, &[])?;
            return Err(ZygoteError::Reported);
        }
        entered => entered?,
    };
    broker.send(&ZygoteReply::Loaded { modules }, &[])?;
    broker.send(&ZygoteReply::Ready { claims: handlers.claims().clone() }, &[])?;
    let mut zygote = Zygote { tracer, jail, handlers: Some(handlers) };
    loop {
        report_exits(&mut broker)?;
        let mut fds = [PollFd::new(broker.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, None, Some(SigSet::empty())) {
            Ok(_) => {}
            Err(SysErrno::EINTR) => continue,
            Err(errno) => return Err(ZygoteError::System { call: "ppoll", errno }),
        }
        match broker.receive::<ZygoteRequest>() {
            Ok((ZygoteRequest::Fork { index: _ }, descriptors)) => {
                let reply = zygote.fork_worker(descriptors);
                broker.send(&reply, &[])?;
            }
            Err(ChannelError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Confines this process. Loads the libraries at the point where it has no privileges any more but may still
/// open files.
fn enter_jail(
    config: &ZygoteConfig,
    mut handlers: Vec<Box<dyn Handler>>,
    broker: &mut Channel,
) -> Result<(WorkerJail, (Handlers, Vec<LoadedModule>)), ZygoteError> {
    let opened = config.libraries.iter().map(Library::open).collect::<Result<Vec<_>, _>>()?;
    let files = opened.iter().map(|library| library.file.as_raw_fd());
    let jail_config = JailConfig {
        uid: config.uid,
        gid: config.uid,
        parent: config.parent,
        keep: vec![SOCKET],
        keep_for_loading: files.collect(),
        memory: config.memory.map(|data| Memory { data, areas: config.areas }),
    };
    crash::install().map_err(|errno| ZygoteError::System { call: "sigaction", errno })?;
    crash::abort_on_panic();
    let load = || -> Result<_, ZygoteError> {
        for library in opened {
            let handler = text::truncate(&library.name());
            broker.send(&ZygoteReply::Loading { handler }, &[])?;
            handlers.push(library.load()?);
        }
        // Must run here, while the links in /proc to the module files can still be read.
        Ok((loading::finish(handlers)?, modules::loaded()))
    };
    jail::enter_zygote(&jail_config, load)
}

/// Reports to the broker which workers have ended, and how.
fn report_exits(broker: &mut Channel) -> Result<(), ChannelError> {
    loop {
        let (pid, signal, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, 0, status),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, signal as i32, 0),
            Ok(WaitStatus::StillAlive) | Err(SysErrno::ECHILD) => return Ok(()),
            Ok(_) | Err(_) => continue,
        };
        broker.send(&ZygoteReply::Exited { pid: pid.as_raw() as u32, signal, status }, &[])?;
    }
}
