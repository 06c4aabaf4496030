//! What a worker asks of the broker, answered: the privileged half of the KCOV device.
//!
//! Every request is an allegation. It is held against the table of [`permit`](crate::tenant::permit), the identity of the
//! descriptor is read from the caller's own table, and the notification is found valid after that read, before
//! anything takes effect.

mod handlers;

use crate::broker::poller::Token;
use crate::kcov::arena::Arena;
use crate::sys::descriptor::Access;
use crate::sys::listener::{self, Answer};
use crate::sys::socket::ChannelError;
use crate::tenant::Tenant;
use crate::tenant::permit::{Permit, Phase, permit};
use crate::tenant::worker_process::Decision;
use kcov_proto::Errno;
use kcov_proto::abi::{self, RemoteArg};
use kcov_proto::device::ArenaId;
use kcov_proto::message::{Assist, AssistKind, AssistReply, FileId, Heartbeat, Verdict};
use nix::errno::Errno as SysErrno;
use std::os::fd::{AsFd, OwnedFd};
use tracing::{info, warn};

/// The worker broke the rules; it is to be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

/// Its requests are too many.
const TOO_MANY: Fault = Fault("it asks too much for one call");

/// What rides beside a reply.
#[derive(Debug)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// The arena that the worker is to map.
    Arena(ArenaId),
    /// The worker's end of a socket.
    Socket(OwnedFd),
}

/// A decision, before it is turned into a reply or an answer.
struct Ruling {
    /// `None`: it was answered, or will be.
    verdict: Option<Verdict>,
    /// An arena that the worker is to have mapped.
    arena: Option<ArenaId>,
    /// It says that it has not, whatever it was given.
    must_map: bool,
    /// The file of a handler's device that was asked about.
    file: Option<(ArenaId, u16)>,
    reset: Option<ArenaId>,
}

impl From<Verdict> for Ruling {
    fn from(verdict: Verdict) -> Self {
        Ruling { verdict: Some(verdict), arena: None, must_map: false, file: None, reset: None }
    }
}

impl From<Result<(), Errno>> for Ruling {
    fn from(result: Result<(), Errno>) -> Self {
        match result {
            Ok(()) => Verdict::Value(0).into(),
            Err(errno) => Verdict::Fail(errno).into(),
        }
    }
}

fn answer(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Value(value) => Answer::Value(value),
        Verdict::Fail(errno) => Answer::Fail(errno),
        Verdict::Continue => Answer::Continue,
    }
}

impl Tenant {
    /// Carries out one request of worker `index`, with the descriptors that came along. Returns the reply, if the request wants one, and what rides beside.
    ///
    /// # Errors
    /// [`Fault`] if the worker may not ask that.
    pub fn assist(
        &mut self,
        index: u32,
        assist: Assist,
        descriptors: &[OwnedFd],
    ) -> Result<Option<(AssistReply, Beside)>, Fault> {
        let Assist { id, tid, what } = assist;
        // An order may be older than what came since.
        if !matches!(what, AssistKind::Ready { .. } | AssistKind::Opened { .. }) {
            self.saw(id);
        }
        let worker = self.workers.get_mut(&index).ok_or(Fault("a request of an unknown worker"))?;
        if !worker.requests.take(&what, id, self.last_id) {
            return Err(TOO_MANY);
        }
        match permit(worker.phase, id, &what) {
            Permit::Fatal => return Err(Fault("a request out of turn")),
            Permit::Once => worker.phase = Phase::Serving { decided: Some(id) },
            Permit::Allowed => {}
        }
        self.counters.assists += 1;
        let heartbeat = worker.heartbeat;
        let wants_reply = what.wants_reply();
        let mut beside = Beside::Nothing;
        let ruling = match what {
            AssistKind::Ready { heartbeat } => {
                worker.heartbeat = heartbeat;
                worker.phase = Phase::Serving { decided: None };
                self.worker_is_ready(index);
                Verdict::Continue.into()
            }
            AssistKind::Open { .. } => return Err(Fault("an open that no reader has seen")),
            AssistKind::Ioctl { fd, request, arg, remote } => {
                self.ioctl(id, tid, fd, Request { request, arg, remote, heartbeat })
            }
            AssistKind::Mmap { fd, address, length, offset, prot, flags } => {
                self.mmap(id, tid, fd, Mapping { address, length, offset, prot, flags })
            }
            AssistKind::Opened { result } => self.opened(index, id, tid, result)?,
            AssistKind::File { fd } => self.file(id, tid, fd),
            AssistKind::Inject { close_on_exec } => self.inject(id, descriptors.first(), close_on_exec),
            AssistKind::Reason { handler, reason } => {
                Self::reason(&handler, &reason);
                Ruling { verdict: None, ..Verdict::Continue.into() }
            }
            AssistKind::Silence { handler } => {
                self.silence(handler);
                Ruling { verdict: None, ..Verdict::Continue.into() }
            }
            AssistKind::Collision { ids, pc } => {
                self.collision(ids, pc);
                Ruling { verdict: None, ..Verdict::Continue.into() }
            }
            AssistKind::Exec => self.exec(id, tid),
            AssistKind::Settle => {
                self.registry.settle_caller(tid);
                Verdict::Continue.into()
            }
            AssistKind::Arena(arena) => {
                Ruling { arena: Some(arena), must_map: true, ..Verdict::Continue.into() }
            }
            AssistKind::Reader => {
                if let Some(socket) = self.next_reader_of(index) {
                    beside = Beside::Socket(socket);
                }
                Verdict::Continue.into()
            }
        };
        self.settle_up();
        if wants_reply {
            return Ok(self.reply(index, id, ruling, beside));
        }
        if let Some(verdict) = ruling.verdict {
            self.answer_caller(id, answer(verdict));
        }
        Ok(None)
    }

    /// Takes one open that reader `index` passes on. Says whether there was one.
    pub(crate) fn reader_speaks(&mut self, index: u32) -> bool {
        let Some(reader) = self.readers.get_mut(&index) else { return false };
        let worker = reader.worker();
        match reader.channel.try_receive_bare::<Assist>() {
            Ok(Assist { id, tid, what }) => {
                self.saw(id);
                if let Some(worker) = self.workers.get_mut(&worker)
                    && !worker.requests.take(&what, id, self.last_id)
                {
                    worker.convict(TOO_MANY.0);
                    return true;
                }
                self.counters.assists += 1;
                let ruling = match what {
                    AssistKind::Open { flags, device: Some(device), .. } => {
                        self.open_device(id, tid, device, flags)
                    }
                    AssistKind::Open { flags, reopened, device: None } => {
                        self.open(id, tid, flags.cast_signed(), reopened)
                    }
                    AssistKind::Ioctl { fd, request, arg, remote } => self.ioctl(
                        id,
                        tid,
                        fd,
                        Request { request, arg, remote, heartbeat: Heartbeat::default() },
                    ),
                    AssistKind::Mmap { fd, address, length, offset, prot, flags } => {
                        self.mmap(id, tid, fd, Mapping { address, length, offset, prot, flags })
                    }
                    // Nothing else passes through a reader.
                    _ => Verdict::Fail(Errno::EIO).into(),
                };
                self.settle_up();
                if let Some(verdict) = ruling.verdict {
                    self.answer_caller(id, answer(verdict));
                }
                true
            }
            Err(ChannelError::WouldBlock) => false,
            Err(_) => {
                // Its end follows, or is brought about; until then the socket would be ready for ever.
                self.poller.remove(&reader.channel);
                reader.kill();
                false
            }
        }
    }

    fn reply(
        &mut self,
        index: u32,
        id: u64,
        ruling: Ruling,
        mut beside: Beside,
    ) -> Option<(AssistReply, Beside)> {
        let Ruling { verdict, arena, must_map, file, reset } = ruling;
        let verdict = verdict?;
        let worker = self.workers.get_mut(&index)?;
        if worker.phase == (Phase::Serving { decided: Some(id) }) {
            worker.decision = Some(Decision { id, answer: answer(verdict) });
        }
        let mut sized = None;
        if let Some(arena) = arena
            && (must_map || !worker.has(arena))
            && let Some(words) = self.registry.words(arena)
        {
            if worker.give(arena) {
                info!(event = "attach", id = arena.number(), worker = worker.pid, "mapped by a worker");
            }
            sized = Some((arena, words));
            beside = Beside::Arena(arena);
        }
        Some((AssistReply { id, verdict, arena: sized, file, reset, drops: worker.take_drops() }, beside))
    }

    /// `open` of the device: an instance, and a descriptor for the caller in the same step as the answer.
    fn open(&mut self, id: u64, tid: u32, flags: i32, reopened: Option<FileId>) -> Ruling {
        if let Some(file) = reopened
            && self.registry.find(file).is_none()
        {
            return match self.device_of(file) {
                Some(device) => self.open_device(id, tid, device, flags.cast_unsigned()),
                None => Verdict::Continue.into(),
            };
        }
        let errno = match self.registry.open(flags) {
            Err(errno) => errno,
            Ok((arena, description)) => {
                let close_on_exec = flags & libc::O_CLOEXEC != 0;
                match listener::add_fd_send(self.listener.as_fd(), id, description.as_fd(), close_on_exec) {
                    Ok(fd) => {
                        info!(event = "open", id = arena.number(), tid, command = "open", fd, "opened");
                        return Ruling { verdict: None, ..Verdict::Value(0).into() };
                    }
                    Err(errno) => {
                        drop(description);
                        self.registry.abandon(arena);
                        Errno(errno as i32)
                    }
                }
            }
        };
        info!(event = "open", tid, command = "open", %errno, "refused");
        Verdict::Fail(errno).into()
    }

    /// The instance behind a descriptor of the caller: `None` if it is none, or the caller is gone.
    fn instance(&mut self, id: u64, tid: u32, fd: i32) -> Option<ArenaId> {
        let arena = self.registry.find(self.tables.identity(tid, fd).ok()?)?;
        // The number `tid` may have changed hands while we looked.
        match listener::id_valid(self.listener.as_fd(), id) {
            Ok(true) => Some(arena),
            Ok(false) | Err(_) => None,
        }
    }

    /// Whether a descriptor of an instance was opened with `O_PATH`. Where the device itself was opened in a mode that
    /// looks the same, that is what it is taken for.
    fn is_path_only(&self, arena: ArenaId, tid: u32, fd: i32) -> bool {
        let is_uncounted = self.registry.arenas().get(arena).is_some_and(Arena::is_uncounted);
        let neither = Access { readable: false, writable: false };
        !is_uncounted && self.tables.access(tid, fd) == Ok(neither)
    }

    fn ioctl(&mut self, id: u64, tid: u32, fd: i32, request: Request) -> Ruling {
        let Some(arena) = self.instance(id, tid, fd) else { return Verdict::Continue.into() };
        if self.is_path_only(arena, tid, fd) {
            // EBADF, as the kernel says of every file.
            return Verdict::Continue.into();
        }
        let Request { request, arg, remote, heartbeat } = request;
        let ruling = match request {
            abi::INIT_TRACE => self.registry.init_trace(arena, arg).into(),
            abi::ENABLE => self.enable(arena, tid, arg, &heartbeat),
            abi::DISABLE => self.disable(arena, tid, arg),
            abi::REMOTE_ENABLE => self.remote_enable(arena, tid, remote),
            abi::RESET_TRACE => match self.registry.reset_trace(arena, tid, arg) {
                Ok(()) => Ruling { arena: Some(arena), reset: Some(arena), ..Verdict::Value(0).into() },
                Err(errno) => Verdict::Fail(errno).into(),
            },
            _ => Verdict::Fail(Errno::ENOTTY).into(),
        };
        let command = abi::request_name(request);
        match ruling.verdict {
            Some(Verdict::Fail(errno)) => {
                info!(event = "ioctl", id = arena.number(), tid, command, %errno, "refused")
            }
            _ => info!(event = "ioctl", id = arena.number(), tid, command, "done"),
        }
        ruling
    }

    fn enable(&mut self, arena: ArenaId, tid: u32, arg: u64, heartbeat: &Heartbeat) -> Ruling {
        let enabled = self.registry.enable(arena, tid, arg).and_then(|mode| {
            self.registry.own(tid)?;
            Ok(mode)
        });
        match enabled {
            Ok(mode) => {
                info!(
                    event = "enable",
                    id = arena.number(),
                    tid,
                    command = "ENABLE",
                    mode = mode.name(),
                    "enabled"
                );
                if !self.registry.arenas().get(arena).is_some_and(|arena| arena.beat(mode, heartbeat)) {
                    self.counters.tally.records_lost += 1;
                }
                Verdict::Value(0).into()
            }
            Err(errno) => Verdict::Fail(errno).into(),
        }
    }

    fn disable(&mut self, arena: ArenaId, tid: u32, arg: u64) -> Ruling {
        let result = self.registry.disable(arena, tid, arg);
        if result.is_ok() {
            info!(event = "disable", id = arena.number(), tid, command = "DISABLE", "disabled");
        }
        result.into()
    }

    fn remote_enable(&mut self, arena: ArenaId, tid: u32, arg: Option<Result<RemoteArg, Errno>>) -> Ruling {
        let enabled = arg.unwrap_or(Err(Errno::EFAULT)).and_then(|arg| {
            let mode = self.registry.remote_enable(arena, tid, &arg)?;
            self.registry.own(tid)?;
            Ok(mode)
        });
        match enabled {
            Ok(mode) => {
                let command = "REMOTE_ENABLE";
                info!(event = "enable", id = arena.number(), tid, command, mode = mode.name(), "enabled");
                Verdict::Value(0).into()
            }
            Err(errno) => Verdict::Fail(errno).into(),
        }
    }

    /// `mmap` of a descriptor: the kernel maps, unless the device would refuse.
    fn mmap(&mut self, id: u64, tid: u32, fd: i32, mapping: Mapping) -> Ruling {
        let Some(arena) = self.instance(id, tid, fd) else { return Verdict::Continue.into() };
        match self.registry.check_mmap(arena, mapping.length, mapping.offset) {
            Err(errno)
                if self
                    .tables
                    .access(tid, fd)
                    .is_ok_and(|access| !kernel_refuses_first(access, &mapping)) =>
            {
                Verdict::Fail(errno).into()
            }
            // An offset that is no multiple of the page, a length of 0, ...: the kernel says so itself.
            Ok(()) | Err(_) => Verdict::Continue.into(),
        }
    }

    fn exec(&mut self, id: u64, tid: u32) -> Ruling {
        let first = self.registry.exec(tid, id).unwrap_or_else(|errno| {
            warn!(event = "exec_rebind", tid, %errno, "cannot follow this execve: what it owns may be lost");
            true
        });
        // Another one of the group is under way: this one is answered once its outcome is known.
        Ruling { verdict: first.then_some(Verdict::Continue), ..Verdict::Continue.into() }
    }

    /// Does what a change of the registry leaves to do: `execve`s that waited for another one go on, new owners are
    /// watched, arenas that ended are let go of.
    pub(crate) fn settle_up(&mut self) {
        for id in self.registry.take_released_execs() {
            self.answer_caller(id, Answer::Continue);
        }
        for tid in self.registry.take_unwatched() {
            self.watch_owner(tid);
        }
        self.drop_gone();
    }

    /// Waits for the end of an owner.
    fn watch_owner(&mut self, tid: u32) {
        let Some(pidfd) = self.registry.owner_pidfd(tid) else { return };
        match self.poller.add_once(pidfd, Token::Owner(tid)) {
            Ok(()) | Err(SysErrno::EEXIST) => {}
            // Unwatched, its exit is still seen by whoever asks for the instance next.
            Err(errno) => warn!(%errno, tid, "cannot watch an owner"),
        }
    }
}

struct Request {
    request: u32,
    arg: u64,
    remote: Option<Result<RemoteArg, Errno>>,
    /// What the worker says an `ENABLE` is to leave.
    heartbeat: Heartbeat,
}

struct Mapping {
    address: u64,
    length: u64,
    offset: u64,
    prot: u32,
    flags: u32,
}

/// Whether `do_mmap` (`mm/mmap.c`, Linux 6.12) refuses before it asks the device: by addresses and offsets that cannot
/// be, the type of the mapping, the access mode of the descriptor. Its limits and what is mapped already are not looked
/// at: they are the caller's, whose memory the broker does not touch.
fn kernel_refuses_first(access: Access, mapping: &Mapping) -> bool {
    const MAP_TYPE: u32 = 0x0f;
    /// `LEGACY_MAP_MASK` (`include/linux/mman.h`): what `MAP_SHARED_VALIDATE` knows, without the sizes of huge pages,
    /// which no device has.
    const LEGACY: u32 = MAP_TYPE
        | (libc::MAP_FIXED
            | libc::MAP_DENYWRITE
            | libc::MAP_EXECUTABLE
            | libc::MAP_GROWSDOWN
            | libc::MAP_LOCKED
            | libc::MAP_NORESERVE
            | libc::MAP_POPULATE
            | libc::MAP_NONBLOCK
            | libc::MAP_STACK) as u32
        | LOW;
    /// `MAP_32BIT` and `MAP_ABOVE4G` of x86-64.
    const LOW: u32 = if cfg!(target_arch = "x86_64") { 0xc0 } else { 0 };
    let Mapping { prot, flags, .. } = *mapping;
    let Access { readable, writable } = access;
    let shared = match (flags & MAP_TYPE) as i32 {
        libc::MAP_SHARED => true,
        libc::MAP_SHARED_VALIDATE if flags & !LEGACY != 0 => return true,
        libc::MAP_SHARED_VALIDATE => true,
        libc::MAP_PRIVATE => false,
        _ => return true,
    };
    cannot_be(mapping) || !readable || shared && prot & libc::PROT_WRITE as u32 != 0 && !writable
}

/// Whether a mapping is larger than the address space, ends behind it or behind the largest file: `ENOMEM`, `EOVERFLOW`.
fn cannot_be(mapping: &Mapping) -> bool {
    /// End of a process's addresses (`TASK_SIZE`): with four levels of page tables on x86-64, 48 bits on aarch64.
    const SPACE: u64 = if cfg!(target_arch = "aarch64") { 1 << 48 } else { (1 << 47) - PAGE };
    /// Where the kernel begins to look for room (`vm.mmap_min_addr`, by default).
    const LOWEST: u64 = 1 << 16;
    /// The end is rounded up to pages; to the smallest that there are, as larger ones change nothing here.
    const PAGE: u64 = 4096;
    let Mapping { address, length, offset, flags, .. } = *mapping;
    let fixed = flags & (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) as u32 != 0;
    let start = if fixed { address } else { LOWEST };
    let ends_by = |start: u64, most: u64| {
        let end = length.checked_next_multiple_of(PAGE).and_then(|length| start.checked_add(length));
        end.is_some_and(|end| end <= most)
    };
    !ends_by(start, SPACE) || !ends_by(offset, i64::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Access = Access { readable: true, writable: true };

    fn mapping(address: u64, length: u64, offset: u64, flags: i32) -> Mapping {
        Mapping { address, length, offset, prot: libc::PROT_READ as u32, flags: flags as u32 }
    }

    #[test]
    fn the_kernel_refuses_what_no_address_space_and_no_file_has() {
        let shared = libc::MAP_SHARED;
        for (address, length, offset, flags) in [
            (0, 1 << 48, 0, shared),
            (0, (1 << 47) - 8192, 0, shared),
            (0, u64::MAX, 0, shared),
            ((1 << 47) - 4096, 8192, 0, shared | libc::MAP_FIXED),
            (u64::MAX - 4095, 8192, 0, shared | libc::MAP_FIXED_NOREPLACE),
            (0, 4096, i64::MAX as u64 - 4095, shared),
            (0, 4096, u64::MAX - 4095, shared),
            (0, 8192, 0, libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC),
            (0, 8192, 0, libc::MAP_SHARED_VALIDATE | libc::MAP_FIXED_NOREPLACE),
        ] {
            let asked = mapping(address, length, offset, flags);
            assert!(kernel_refuses_first(BOTH, &asked), "{address:#x} {length:#x} {offset:#x}");
        }
    }

    #[test]
    fn the_device_refuses_what_could_be() {
        for (address, length, offset) in [(0, 8192, 0), (u64::MAX, 1 << 40, 0), (0, 4096, 1 << 62)] {
            let asked = mapping(address, length, offset, libc::MAP_SHARED);
            assert!(!kernel_refuses_first(BOTH, &asked), "{address:#x} {length:#x} {offset:#x}");
        }
    }
}
