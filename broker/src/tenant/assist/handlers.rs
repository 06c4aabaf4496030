//! What handlers need of the broker: files of their devices, descriptors for callers, words for the log.

use super::{Fault, Ruling};
use crate::sys::listener::{self, Answer};
use crate::sys::{file, memfd};
use crate::tenant::Tenant;
use crate::tenant::worker_process::{PAST_DEADLINE, WorkerProcess};
use kcov_proto::Errno;
use kcov_proto::device::ArenaId;
use kcov_proto::message::{FileId, MAX_CLOSED, MAX_TEXT, NotificationId, Order, Verdict};
use kcov_proto::quota::Quota;
use kcov_proto::site::ID_BITS;
use nix::libc;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use tracing::{info, warn};

impl Tenant {
    /// `open` of a handler's device: a file, and an order for the worker, whose handler decides.
    pub(super) fn open_device(&mut self, id: NotificationId, tid: u32, device: u16, flags: u32) -> Ruling {
        let live = self.registry.instances();
        let Some(files) = &mut self.files else { return Verdict::Fail(Errno::ENODEV).into() };
        if live + files.live() >= self.launch.quotas.instances {
            self.counters.refusals.count(Quota::Instances);
            return Verdict::Fail(Errno::ENFILE).into();
        }
        match files.begin(id, tid, device, flags) {
            Ok(()) => {
                self.send_orders();
                Ruling { verdict: None, ..Verdict::Continue.into() }
            }
            Err(errno) => Verdict::Fail(errno).into(),
        }
    }

    /// A file that was opened anew through procfs: of which device it is.
    pub(super) fn device_of(&self, file: FileId) -> Option<u16> {
        self.files.as_ref()?.find(file).map(|(_, device)| device)
    }

    /// Gives the orders that nobody has to a worker that serves. One that begins to has them before its first call.
    pub(crate) fn send_orders(&mut self) {
        let serving = |(_, worker): &(&u32, &mut WorkerProcess)| worker.is_serving();
        let Some((&index, worker)) = self.workers.iter_mut().find(serving) else { return };
        let opens = self.files.as_mut().map(|files| files.take_orders(index)).unwrap_or_default();
        for order in opens.into_iter().chain(self.retries.take_orders(index)) {
            worker.order(order);
        }
    }

    /// The handler of a device has decided over an open.
    pub(super) fn opened(
        &mut self,
        index: u32,
        id: NotificationId,
        tid: u32,
        result: Result<(), Errno>,
    ) -> Result<Ruling, Fault> {
        let opening = self.files.as_mut().and_then(|files| files.decided(id, index));
        let Some(opening) = opening else {
            // Given up meanwhile, as it took too long: the caller has its answer.
            return Ok(Ruling { verdict: None, ..Verdict::Continue.into() });
        };
        if let Err(errno) = result {
            info!(event = "open", tid, command = "open", %errno, "refused by the handler");
            return Ok(Verdict::Fail(errno).into());
        }
        let file = opening.file();
        let given =
            listener::add_fd_send(self.listener.as_fd(), id, opening.description(), opening.close_on_exec);
        match given {
            Ok(fd) => {
                info!(event = "open", file = file.number(), tid, command = "open", fd, "opened");
                if let Some(files) = &mut self.files {
                    files.insert(opening);
                }
                Ok(Ruling { verdict: None, ..Verdict::Continue.into() })
            }
            Err(errno) => {
                self.tell_closed(&[file]);
                Ok(Verdict::Fail(Errno(errno as i32)).into())
            }
        }
    }

    /// Which file of a handler's device a descriptor of the caller is.
    pub(super) fn file(&mut self, id: NotificationId, tid: u32, fd: i32) -> Ruling {
        let found = self.tables.identity(tid, fd).ok();
        let file = found.and_then(|found| self.files.as_ref()?.find(found));
        // The number `tid` may have changed hands while we looked.
        let valid = file.is_some() && self.is_in_flight(id);
        Ruling { file: file.filter(|_| valid), ..Verdict::Continue.into() }
    }

    /// Gives the caller a descriptor that a handler made.
    pub(super) fn inject(&mut self, id: NotificationId, fd: Option<&OwnedFd>, close_on_exec: bool) -> Ruling {
        let Some(fd) = fd.filter(|fd| self.may_inject(fd.as_fd())) else {
            warn!("a handler gives a caller what is no memfd, pipe or eventfd of its own");
            return Verdict::Fail(Errno::EIO).into();
        };
        match listener::add_fd_send(self.listener.as_fd(), id, fd.as_fd(), close_on_exec) {
            Ok(_) => Ruling { verdict: None, ..Verdict::Continue.into() },
            Err(errno) => Verdict::Fail(Errno(errno as i32)).into(),
        }
    }

    /// Whether it is a file that a worker can have made, and neither of the broker's sockets nor an arena.
    fn may_inject(&self, fd: BorrowedFd<'_>) -> bool {
        let Ok(facts) = file::file_facts(fd) else { return false };
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

    /// Whether it is memory or a pipe between the broker and a worker.
    fn is_shared_with_a_worker(&self, file: FileId) -> bool {
        let shared = self
            .workers
            .values()
            .flat_map(|worker| [worker.slot.file(), worker.journal.file(), worker.output.as_fd()]);
        shared
            .chain([self.roster.as_fd()])
            .any(|page| file::file_facts(page).is_ok_and(|facts| facts.id == file))
    }

    /// For the log: why a handler lets calls go on.
    pub(super) fn reason(handler: &str, reason: &str) {
        let cut = |text: &str| text.chars().take(MAX_TEXT).collect::<String>();
        info!(event = "continue", handler = cut(handler), reason = cut(reason), "a handler lets calls go on");
    }

    /// For the log, once: a handler has no coverage to show. It is no error: the client may look for nothing else.
    pub(super) fn silence(&mut self, handler: String) {
        let is_known = self.claims.handlers.iter().any(|claims| claims.name == handler);
        if is_known && self.silent.insert(handler.clone()) {
            warn!(
                event = "silent",
                handler,
                "the handler {handler} recorded nothing of a call whose caller collects PCs: if its code has no coverage \
                 points, build it with them (man kcov-handler)"
            );
        }
    }

    /// For the log: two explicit ids are one point to clients.
    pub(super) fn collision(&mut self, ids: [u64; 2], pc: u64) {
        /// A worker tells of 16; one that was taken over is not to fill the operator's disk.
        const MOST: u32 = 256;
        self.collisions = self.collisions.saturating_add(1);
        if self.collisions > MOST {
            return;
        }
        let [one, other] = ids.map(|id| format!("{id:#x}"));
        warn!(
            event = "ids_collide",
            one,
            other,
            pc = format!("{pc:#x}"),
            "two explicit ids of handlers have one PC: those below 2^{ID_BITS} have PCs of their own"
        );
    }

    /// Lets go of files that nobody has any more.
    pub(crate) fn sweep_files(&mut self, all: bool) {
        let released = self.files.as_mut().map(|files| files.sweep(all)).unwrap_or_default();
        for file in &released {
            info!(event = "release", file = file.number(), "released");
        }
        self.tell_closed(&released);
        for worker in self.workers.values_mut() {
            worker.flush();
        }
    }

    fn tell_closed(&mut self, files: &[ArenaId]) {
        for part in files.chunks(MAX_CLOSED) {
            for worker in self.workers.values_mut().filter(|worker| worker.is_serving()) {
                worker.order(Order::Closed(part.to_vec()));
            }
        }
    }

    /// A worker is dead: the open that it had at hand fails, the others are for the next one.
    pub(crate) fn reorder(&mut self, index: u32, in_flight: NotificationId) {
        let lost = self.files.as_mut().is_some_and(|files| files.worker_died(index, in_flight));
        if lost {
            self.answer_caller(in_flight, Answer::Fail(Errno::EIO));
        }
        self.send_orders();
    }

    /// Gives up opens that no worker has decided in time.
    pub(crate) fn look_at_openings(&mut self, now: Instant, deadline: Duration) {
        let overdue = self.files.as_mut().map(|files| files.take_overdue(now, deadline)).unwrap_or_default();
        for (id, worker) in overdue {
            self.answer_caller(id, Answer::Fail(Errno::EIO));
            if let Some(worker) = worker.and_then(|index| self.workers.get_mut(&index)) {
                worker.interrupt(PAST_DEADLINE);
            }
        }
    }
}

/// Whether it is an eventfd: a file without a type of its own, by the name that the kernel gives it.
fn is_eventfd(fd: BorrowedFd<'_>) -> bool {
    let link = nix::fcntl::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str());
    link.is_ok_and(|target| target == "anon_inode:[eventfd]")
}
