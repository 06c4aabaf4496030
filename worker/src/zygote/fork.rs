//! Forking workers.

use super::SOCKET;
use crate::assist::Assistants;
use crate::context::Context;
use crate::device::Device;
use crate::dispatch::Dispatch;
use crate::handlers::Handlers;
use crate::jail::WorkerJail;
use crate::remote;
use crate::serve::{Sources, serve};
use crate::service::{Service, TraceService};
use crate::sys::shared::SharedWords;
use crate::sys::{crash, fork};
use crate::trace::{self, Tracer};
use kcov_proto::journal::{self, JournalWriter};
use kcov_proto::message::ZygoteReply;
use kcov_proto::{Errno, roster, slot};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Maps the journal of a worker twice: for the services, and, never unmapped, for the fatal signal handler.
fn open_journal(file: &OwnedFd) -> Option<JournalWriter<SharedWords>> {
    let kept = Box::leak(Box::new(SharedWords::map(file, journal::WORDS, true).ok()?));
    crash::set_journal(kept);
    JournalWriter::new(SharedWords::map(file, journal::WORDS, true).ok()?)
}

/// The state that workers are forked with.
pub(super) struct Zygote {
    pub(super) tracer: Rc<Tracer>,
    pub(super) jail: WorkerJail,
    /// Moved out by a worker, in its copy of this process.
    pub(super) handlers: Option<Handlers>,
}

/// Number of descriptors in a [`ZygoteRequest::Fork`].
const DESCRIPTORS: usize = 8;

impl Zygote {
    pub(super) fn fork_worker(&mut self, descriptors: Vec<OwnedFd>) -> ZygoteReply {
        let Ok(descriptors) = <[OwnedFd; DESCRIPTORS]>::try_from(descriptors) else {
            return ZygoteReply::Failed(Errno::EPROTO);
        };
        match fork::child(|| self.run_worker(descriptors)) {
            Ok(pid) => ZygoteReply::Forked { pid: pid.as_raw() as u32 },
            Err(errno) => ZygoteReply::Failed(Errno(errno as i32)),
        }
    }

    /// The body of a worker process. Returns its exit status.
    fn run_worker(&mut self, descriptors: [OwnedFd; DESCRIPTORS]) -> i32 {
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
        let context = Context::new(slot, roster, assistants).with_journal(journal_writer);
        remote::install(Rc::new(context.remote_host()));
        match serve(sources, dispatch, context) {
            Ok(never) => match never {},
            Err(_) => 0,
        }
    }

    fn services(&mut self) -> Vec<Box<dyn Service>> {
        let has_devices = self.handlers.as_ref().is_some_and(Handlers::has_devices);
        let mut services: Vec<Box<dyn Service>> = Vec::new();
        // Without claims, no call should pay for asking the handlers.
        if let Some(handlers) = self.handlers.take().filter(|handlers| !handlers.claims().is_empty()) {
            services.push(Box::new(handlers));
        }
        services.push(Box::new(Device::new(self.tracer.clone(), has_devices)));
        services.push(Box::new(TraceService(self.tracer.clone())));
        services
    }
}
