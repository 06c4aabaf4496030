//! Requests of handlers: files of their devices, descriptors for callers, messages for the log.

use super::Tenant;
use super::requests::Outcome;
use super::workers::process::AllegedCall;
use crate::kcov::files::Files;
use crate::sys::file::file_facts;
use crate::sys::memfd;
use kcov_proto::Errno;
use kcov_proto::device::{ArenaId, Tid};
use kcov_proto::message::{ClosedFile, Closer, FileId, MAX_CLOSED, NotificationId, Order, Response};
use kcov_proto::quota::Quota;
use nix::libc;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use tracing::{info, warn};

impl Tenant {
    /// `open` of a handler's device: makes a file and orders the open from a worker, whose handler decides.
    pub(super) fn open_device(&mut self, id: NotificationId, tid: u32, device: u16, flags: u32) -> Outcome {
        let live = self.registry.instances();
        let Some(files) = &mut self.files else { return Errno::ENODEV.into() };
        if live + files.live() >= self.launch.quotas.instances {
            self.counters.refusals.count(Quota::Instances);
            return Errno::ENOMEM.into();
        }
        match files.begin(id, tid, device, flags) {
            Ok(()) => {
                // Before the caller has its descriptor, which it may close at once.
                self.registry.show_files(files.live());
                self.send_orders();
                Outcome::Done
            }
            Err(errno) => errno.into(),
        }
    }

    /// The device that a file belongs to, which was opened again through procfs.
    pub(super) fn device_of(&self, file: FileId) -> Option<u16> {
        self.files.as_ref()?.find(file).map(|(_, device)| device)
    }

    /// Gives the orders that no worker has to a worker that serves. A worker that reports gets them before its first call.
    pub(super) fn send_orders(&mut self) {
        let Some((index, worker)) = self.workers.serving() else { return };
        let opens = self.files.as_mut().map(|files| files.take_orders(index)).unwrap_or_default();
        for order in opens.into_iter().chain(self.calls.reassigned.take_orders(index)) {
            worker.order(order);
        }
    }

    /// The handler of a device has decided an open.
    pub(super) fn opened(
        &mut self,
        index: u32,
        id: NotificationId,
        tid: u32,
        result: Result<(), Errno>,
    ) -> Outcome {
        // None: the open took too long, and its caller has an answer.
        let Some(opening) = self.files.as_mut().and_then(|files| files.decided(id, index)) else {
            return Outcome::Done;
        };
        if let Err(errno) = result {
            info!(event = "open", tid, command = "open", %errno, "refused by the handler");
            return errno.into();
        }
        let file = opening.file();
        match self.calls.answer_with_descriptor(id, opening.description(), opening.close_on_exec) {
            Ok(fd) => {
                info!(event = "open", file = file.number(), tid, command = "open", fd, "opened");
                if let Some(files) = &mut self.files {
                    files.insert(opening);
                }
                Outcome::Done
            }
            Err(errno) => {
                self.order_closed(&[ClosedFile { file, closer: None }], None);
                errno.into()
            }
        }
    }

    /// The file of a handler's device that a descriptor of the caller refers to.
    pub(super) fn file(&mut self, id: NotificationId, tid: u32, fd: i32) -> Option<(ArenaId, u16)> {
        let file = self.files.as_ref()?.find(self.tables.identity(tid, fd).ok()?)?;
        // Checked after the look: the thread of that number was the caller all the time.
        self.calls.is_in_flight(id).then_some(file)
    }

    /// Gives the caller a descriptor of a file that a handler made.
    pub(super) fn inject(
        &mut self,
        id: NotificationId,
        fd: Option<&OwnedFd>,
        close_on_exec: bool,
    ) -> Outcome {
        let Some(fd) = fd.filter(|fd| self.may_inject(fd.as_fd())) else {
            warn!("a handler returned a descriptor that is not a memfd, pipe or eventfd of its own");
            return Errno::EIO.into();
        };
        match self.calls.answer_with_descriptor(id, fd.as_fd(), close_on_exec) {
            Ok(_) => Outcome::Done,
            Err(errno) => errno.into(),
        }
    }

    /// Whether a worker can have made the file, and it is neither one that the worker shares with the broker nor an arena.
    fn may_inject(&self, fd: BorrowedFd<'_>) -> bool {
        let Ok(facts) = file_facts(fd) else { return false };
        match facts.mode & libc::S_IFMT {
            libc::S_IFIFO => !self.is_shared_with_a_worker(facts.id),
            libc::S_IFREG => {
                let is_memfd = || memfd::device().is_ok_and(|device| device == facts.id.device);
                is_memfd()
                    && self.registry.find(facts.id).is_none()
                    && self.device_of(facts.id).is_none()
                    && !self.is_shared_with_a_worker(facts.id)
            }
            0 => is_eventfd(fd),
            _ => false,
        }
    }

    /// Whether it is memory or a pipe that a worker shares with the broker.
    fn is_shared_with_a_worker(&self, file: FileId) -> bool {
        let mut shared = self.workers.shared().chain([self.roster.as_fd()]);
        shared.any(|page| file_facts(page).is_ok_and(|facts| facts.id == file))
    }

    /// A handler recorded nothing of a call whose caller collects PCs.
    pub(super) fn note_silent(&mut self, handler: String) {
        if self.claims.handlers.iter().any(|claims| claims.name == handler) {
            self.log.silent(handler);
        }
    }

    /// A caller is about to close descriptors. Returns whether one of them is of a handler's device.
    pub(super) fn closing(&mut self, id: NotificationId, tid: u32, first: u32, last: u32) -> bool {
        /// Descriptors of a `close_range` that are looked at.
        const MAX_LOOKS: u32 = 64;
        let looked_at = first..=last.min(first.saturating_add(MAX_LOOKS - 1));
        let found: Vec<_> = looked_at.filter_map(|fd| self.file(id, tid, fd.cast_signed())).collect();
        let Some(files) = &mut self.files else { return false };
        for (file, _) in &found {
            files.closing(*file, tid);
        }
        !found.is_empty()
    }

    /// Takes the files that the last closes of a caller have released, for worker `index`.
    pub(super) fn closed_by(&mut self, index: u32, tid: u32) -> Vec<ClosedFile> {
        let Some(files) = &mut self.files else { return Vec::new() };
        let (mut closed, released) = (files.take_ordered(tid), files.closed_by(tid));
        let released = self.released(released.into_iter().map(|file| (file, None)).collect());
        self.order_closed(&released, Some(index));
        closed.extend(released);
        closed.truncate(MAX_CLOSED);
        closed
    }

    /// Releases files that no process has open any more.
    pub(super) fn sweep_files(&mut self, all: bool) {
        let released = self.files.as_mut().map(|files| files.sweep(all)).unwrap_or_default();
        let closed = self.released(released);
        self.order_closed(&closed, None);
        if let Some(files) = &mut self.files {
            closed
                .into_iter()
                .filter(|closed| closed.closer.is_some())
                .for_each(|closed| files.ordered(closed));
        }
        self.workers.iter_mut().for_each(|worker| worker.flush());
    }

    fn released(&mut self, released: Vec<(ArenaId, Option<Tid>)>) -> Vec<ClosedFile> {
        if released.is_empty() {
            return Vec::new();
        }
        self.registry.show_files(self.files.as_ref().map_or(0, Files::live));
        let closed = released.into_iter().map(|(file, tid)| {
            info!(event = "release", file = file.number(), tid, "released");
            let closer = tid.map(|tid| Closer { tid, target: self.registry.target_of(tid) });
            ClosedFile { file, closer }
        });
        closed.collect()
    }

    /// Has all workers but `index` release the state of these files.
    fn order_closed(&mut self, files: &[ClosedFile], index: Option<u32>) {
        for part in files.chunks(MAX_CLOSED) {
            self.workers.order_all(&Order::Closed(part.to_vec()), index);
        }
    }

    /// A worker is dead: the open that it handled fails, the others are for the next worker.
    pub(super) fn give_up_opening(&mut self, index: u32, call: &AllegedCall) {
        if self.files.as_mut().is_some_and(|files| files.worker_died(index, call.id)) {
            self.calls.answer(call.id, Response::Fail(Errno::EIO));
        }
        self.send_orders();
    }
}

/// Whether it is an eventfd. Such a file has no type of its own; the kernel names it in procfs.
fn is_eventfd(fd: BorrowedFd<'_>) -> bool {
    let link = nix::fcntl::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str());
    link.is_ok_and(|target| target == "anon_inode:[eventfd]")
}
