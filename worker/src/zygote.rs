//! The zygote: loaded with handlers and jailed once, it forks a tenant's workers on the broker's request.
//!
//! It has one thread and never serves a call itself, so a fork of it is cheap and holds no lock.

use crate::assist::Assistants;
use crate::context::Context;
use crate::device::Device;
use crate::dispatch::Dispatch;
use crate::handler::Handler;
use crate::handlers::Handlers;
use crate::jail::{self, JailConfig, JailError, WorkerJail};
use crate::loading::{self, Library, LoadError};
use crate::record::Scope;
use crate::serve::{Sources, serve};
use crate::service::{Service, Trace};
use crate::sys::shared::SharedWords;
use crate::sys::socket::{Channel, ChannelError};
use crate::sys::{crash, fork, modules};
use crate::text;
use crate::trace::{self, Tracer};
use kcov_proto::cover_map::{self, CoverMap};
use kcov_proto::journal::{self, Writer};
use kcov_proto::message::{LoadedModule, ZygoteReply, ZygoteRequest};
use kcov_proto::{Errno, roster, slot};
use kcov_sys::descriptors::inherited;
use nix::errno::Errno as SysErrno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

/// Descriptor number of the zygote's socket, as the spawner leaves it.
const SOCKET: i32 = 3;
/// That of the coverage map.
const COVER: i32 = 4;

/// What the spawner tells a zygote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZygoteConfig {
    /// uid and gid to become.
    pub uid: u32,
    /// Process that started it.
    pub parent: u32,
    /// Most bytes of data that it and each worker may have.
    pub memory: Option<u64>,
    /// Whether it has a coverage map, which it and its workers mark.
    pub cover: bool,
    /// Whether the handler that `kcov-broker bench` measures is the last of the program's.
    pub bench: bool,
    /// Libraries with handlers, loaded in this order, after those of the program itself.
    pub libraries: Vec<Library>,
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
    /// A handler could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
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
    /// What was wrong was told to the broker, which tells its user.
    #[error("the broker was told why")]
    Told,
}

/// Runs as a zygote, with these handlers of the program, until the broker is gone.
///
/// # Errors
/// [`ZygoteError`].
pub fn run(config: &ZygoteConfig, handlers: Vec<Box<dyn Handler>>) -> Result<(), ZygoteError> {
    if !config.cover {
        return serve_broker(config, handlers);
    }
    // Workers inherit the mapping, and that it is marked.
    let map = inherited(COVER).and_then(|file| SharedWords::map(file, cover_map::BYTES / 8, true));
    let map = map.map_err(|errno| ZygoteError::System { call: "mmap of the coverage map", errno })?;
    let Ok(bytes) = map.bytes().try_into() else { unreachable!("it was mapped in this size") };
    Scope::cover(CoverMap::new(bytes), || serve_broker(config, handlers))
}

fn serve_broker(config: &ZygoteConfig, handlers: Vec<Box<dyn Handler>>) -> Result<(), ZygoteError> {
    let mut broker = Channel::from(inherited(SOCKET).map_err(ZygoteError::Socket)?);
    let _ = nix::sys::prctl::set_name(c"kcov-zygote");
    let tracer = Rc::new(Tracer::new());
    // Without a handler the signal would not interrupt the wait below.
    signal_hook::flag::register(signal_hook::consts::SIGCHLD, Arc::default())
        .map_err(|_| ZygoteError::System { call: "sigaction", errno: SysErrno::last() })?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    children.thread_block().map_err(|errno| ZygoteError::System { call: "sigprocmask", errno })?;
    let (jail, (handlers, modules)) = match enter_jail(config, handlers, &mut broker) {
        Err(ZygoteError::Load(error)) => {
            let message = text::bounded(&error.to_string());
            broker.send(&ZygoteReply::Refused { message }, &[])?;
            return Err(ZygoteError::Told);
        }
        Err(ZygoteError::Jail(error)) => {
            broker.send(&ZygoteReply::Unjailed { message: text::bounded(&error.to_string()) }, &[])?;
            return Err(ZygoteError::Told);
        }
        entered => entered?,
    };
    broker.send(&ZygoteReply::Loaded { modules }, &[])?;
    broker.send(&ZygoteReply::Ready { claims: handlers.claims().clone() }, &[])?;
    let mut zygote = Zygote { tracer, jail, handlers: Some(handlers) };
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
                let reply = zygote.fork_worker(descriptors);
                broker.send(&reply, &[])?;
            }
            Err(ChannelError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Jails this process, and loads the libraries at the point where it has no rights any more but may still open files.
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
        memory: config.memory,
    };
    crash::install().map_err(|errno| ZygoteError::System { call: "sigaction", errno })?;
    crash::abort_on_panic();
    let load = || -> Result<_, ZygoteError> {
        for library in opened {
            let handler = text::bounded(&library.name());
            broker.send(&ZygoteReply::Loading { handler }, &[])?;
            handlers.push(library.load()?);
        }
        // Here, where the links that lead to their files can still be read.
        Ok((loading::finish(handlers)?, modules::loaded()))
    };
    jail::enter_zygote(&jail_config, load)
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
        broker.send(&ZygoteReply::Exited { pid: pid.as_raw() as u32, signal, status }, &[])?;
    }
}

/// The journal of a worker. It is mapped twice: for the services, and for the handler of fatal signals, for good.
fn open_journal(file: &OwnedFd) -> Option<Writer<SharedWords>> {
    let kept = Box::leak(Box::new(SharedWords::map(file, journal::WORDS, true).ok()?));
    crash::set_journal(kept);
    Writer::new(SharedWords::map(file, journal::WORDS, true).ok()?)
}

/// What workers are forked with.
struct Zygote {
    tracer: Rc<Tracer>,
    jail: WorkerJail,
    /// Taken by a worker, in its copy of this process.
    handlers: Option<Handlers>,
}

/// Descriptors of a worker, in the order of [`ZygoteRequest::Fork`].
const DESCRIPTORS: usize = 8;

impl Zygote {
    fn fork_worker(&mut self, descriptors: Vec<OwnedFd>) -> ZygoteReply {
        let Ok(descriptors) = <[OwnedFd; DESCRIPTORS]>::try_from(descriptors) else {
            return ZygoteReply::Failed(Errno::EPROTO);
        };
        match fork::child(|| self.work(descriptors)) {
            Ok(pid) => ZygoteReply::Forked { pid: pid.as_raw() as u32 },
            Err(errno) => ZygoteReply::Failed(Errno(errno as i32)),
        }
    }

    /// Runs as a worker. Returns the exit status.
    fn work(&mut self, descriptors: [OwnedFd; DESCRIPTORS]) -> i32 {
        let [listener, broker, orders, reader, slot_file, roster_file, journal, output] = descriptors;
        let _ = nix::sys::prctl::set_name(c"kcov-worker");
        fork::close_copy(&SOCKET);
        if fork::redirect_output(output.as_fd()).is_err() || self.jail.enter().is_err() {
            return 3;
        }
        let (Ok(slot), Ok(roster)) = (
            SharedWords::map(&slot_file, slot::WORDS, true),
            SharedWords::map(&roster_file, roster::WORDS, false),
        ) else {
            return 4;
        };
        let has_handlers = self.handlers.as_ref().is_some_and(|handlers| !handlers.claims().is_empty());
        let journal_writer = has_handlers.then(|| open_journal(&journal)).flatten();
        drop((slot_file, roster_file, journal, output));
        let mut assistants = Assistants::new(broker.into(), reader.into());
        if assistants.ready(trace::heartbeat_records()).is_err() {
            return 5;
        }
        let has_devices = self.handlers.as_ref().is_some_and(Handlers::has_devices);
        let sources = Sources { listener, orders: orders.into(), has_devices };
        let dispatch = Dispatch::new(self.services(), self.tracer.clone());
        match serve(sources, dispatch, Context::new(slot, roster, assistants).with_journal(journal_writer)) {
            Ok(never) => match never {},
            Err(_) => 0,
        }
    }

    fn services(&mut self) -> Vec<Box<dyn Service>> {
        let mut services: Vec<Box<dyn Service>> = Vec::new();
        // Where nothing is claimed, no call pays for the question.
        if let Some(handlers) = self.handlers.take().filter(|handlers| !handlers.claims().is_empty()) {
            services.push(Box::new(handlers));
        }
        services.push(Box::new(Device::new(self.tracer.clone())));
        services.push(Box::new(Trace(self.tracer.clone())));
        services
    }
}
