//! Requests of the KCOV device: ioctl, mmap, and the `execve` that hands an instance on.
//!
//! An open of the device is not trapped: it leads to a placeholder, whose descriptors are *blank*
//! ([`Blank`](kcov_proto::message::Blank)). `INIT_TRACE` makes the instance and puts a descriptor of its arena at the same
//! number. Other descriptors of the same open are replaced at their next request. What a blank descriptor is, only a reader
//! can find out; so requests on blank descriptors go through the reader, and all others straight from the worker.

use super::Tenant;
use super::requests::Outcome;
use crate::kcov::arena::Arena;
use crate::launch::call_name;
use crate::sys::descriptor::Access;
use kcov_proto::Errno;
use kcov_proto::abi::{self, RemoteArg, TraceMode};
use kcov_proto::device::ArenaId;
use kcov_proto::message::{
    Blank, KcovIoctl, Mapping, NotificationId, Order, ReaderKind, ReaderRequest, Response,
};
use nix::errno::Errno as SysErrno;
use std::os::fd::{AsFd, OwnedFd};
use tracing::{info, warn};

/// A descriptor of a caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub(super) tid: u32,
    pub(super) fd: i32,
}

/// What a descriptor is, as far as the broker can tell.
enum Target {
    /// An instance.
    Instance(ArenaId),
    /// Blank, or perhaps blank: the reader finds out.
    Blank,
    /// Not a descriptor of the device.
    Other,
}

impl Tenant {
    /// `ioctl` with a KCOV request, from worker `index`.
    pub(super) fn ioctl(&mut self, index: u32, id: NotificationId, tid: u32, ioctl: KcovIoctl) -> Outcome {
        let descriptor = Descriptor { tid, fd: ioctl.fd };
        match self.target(id, descriptor) {
            Target::Instance(arena) => self.ioctl_on(arena, descriptor, ioctl, None),
            Target::Blank => self.ask_reader(index, id, tid, ReaderKind::Ioctl(ioctl)),
            Target::Other => Outcome::Answer(Response::Continue),
        }
    }

    /// The same, after a reader has looked at the descriptor. `remote`: the argument of `REMOTE_ENABLE`.
    pub(super) fn ioctl_seen(
        &mut self,
        id: NotificationId,
        descriptor: Descriptor,
        ioctl: KcovIoctl,
        remote: Option<Result<RemoteArg, Errno>>,
        blank: Option<Blank>,
    ) -> Outcome {
        let Some(blank) = blank.filter(|blank| self.is_of_device(blank)) else {
            return match self.target(id, descriptor) {
                Target::Instance(arena) => self.ioctl_on(arena, descriptor, ioctl, remote),
                // The reader found a descriptor of an instance: the same file was opened again.
                Target::Blank => match self.instance(descriptor) {
                    Some(arena) => self.ioctl_on(arena, descriptor, ioctl, remote),
                    None => Outcome::Answer(Response::Continue),
                },
                Target::Other => Outcome::Answer(Response::Continue),
            };
        };
        if blank.flags & libc::O_PATH != 0 {
            // The kernel answers EBADF.
            return Outcome::Answer(Response::Continue);
        }
        if let Some(arena) = self.registry.instance_of(&blank) {
            return match self.hand_out(id, descriptor, arena, &blank) {
                Ok(()) => self.ioctl_on(arena, descriptor, ioctl, remote),
                Err(errno) => errno.into(),
            };
        }
        if ioctl.request == abi::INIT_TRACE {
            return self.init_trace(id, descriptor, &blank, ioctl.arg);
        }
        let tid = descriptor.tid;
        let answer: Result<(), Errno> = match ioctl.request {
            abi::ENABLE => self.registry.on_fresh(|it, arena| it.enable(arena, tid, ioctl.arg).map(drop)),
            abi::UNIQUE_ENABLE => {
                self.registry.on_fresh(|it, arena| it.unique_enable(arena, tid, ioctl.arg).map(drop))
            }
            abi::DISABLE => self.registry.on_fresh(|it, arena| it.disable(arena, tid, ioctl.arg)),
            abi::REMOTE_ENABLE => remote.unwrap_or(Err(Errno::EFAULT)).and_then(|arg| {
                self.registry.on_fresh(|it, arena| it.remote_enable(arena, tid, &arg).map(drop))
            }),
            abi::RESET_TRACE => self.registry.on_fresh(|it, arena| it.reset_trace(arena, tid, ioctl.arg)),
            _ => Err(Errno::ENOTTY),
        };
        answer.into()
    }

    /// `INIT_TRACE` on a blank descriptor: makes the instance, and puts a descriptor of its arena at the same number.
    fn init_trace(
        &mut self,
        id: NotificationId,
        descriptor: Descriptor,
        blank: &Blank,
        words: u64,
    ) -> Outcome {
        let Descriptor { tid, fd } = descriptor;
        let (command, number) = ("INIT_TRACE", fd);
        let made = self.registry.init_trace(blank, words);
        let placed = made.and_then(|(arena, description)| {
            let placed = self.place(id, descriptor, &description, blank);
            drop(description);
            placed.inspect_err(|_| self.registry.abandon(arena)).map(|()| arena)
        });
        match placed {
            Ok(arena) => {
                info!(event = "open", id = arena.number(), tid, command, fd = number, "initialised");
                Outcome::Answer(Response::Value(0))
            }
            Err(errno) => {
                info!(event = "open", tid, command, %errno, "refused");
                errno.into()
            }
        }
    }

    /// Puts a descriptor of an instance in the place of a blank one of the same open.
    fn hand_out(
        &mut self,
        id: NotificationId,
        descriptor: Descriptor,
        arena: ArenaId,
        blank: &Blank,
    ) -> Result<(), Errno> {
        let description = self.registry.describe(arena, blank.flags)?;
        self.place(id, descriptor, &description, blank)
    }

    /// Puts `description` at a blank descriptor's number. A descriptor that another thread has replaced meanwhile is
    /// left unchanged, except in the moment between the check and the system call, and where the broker may not read
    /// the caller's table.
    fn place(
        &mut self,
        id: NotificationId,
        Descriptor { tid, fd }: Descriptor,
        description: &OwnedFd,
        blank: &Blank,
    ) -> Result<(), Errno> {
        match self.tables.identity(tid, fd) {
            Ok(file) if file == blank.file => {}
            Err(SysErrno::EACCES) => {}
            Ok(_) | Err(_) => return Ok(()),
        }
        let close_on_exec = blank.flags & libc::O_CLOEXEC != 0;
        self.calls.replace_descriptor(id, description.as_fd(), fd, close_on_exec)
    }

    fn target(&mut self, id: NotificationId, descriptor: Descriptor) -> Target {
        let Descriptor { tid, fd } = descriptor;
        let found = self.tables.identity(tid, fd);
        // Checked after the look: the thread of that number was the caller all the time.
        if !self.calls.is_in_flight(id) {
            return Target::Other;
        }
        let file = match found {
            Ok(file) => file,
            // The caller is not dumpable, and the broker is rootless.
            Err(SysErrno::EACCES) => return Target::Blank,
            Err(_) => return Target::Other,
        };
        match self.registry.find(file) {
            Some(arena) if self.registry.is_reopened(arena) => Target::Blank,
            Some(arena) => Target::Instance(arena),
            None if self.placeholder == Some(file) => Target::Blank,
            None => Target::Other,
        }
    }

    /// Returns whether a descriptor that looks blank to a reader is of the placeholder or of an arena. The reader
    /// cannot tell arenas from other memfds.
    fn is_of_device(&self, blank: &Blank) -> bool {
        self.placeholder == Some(blank.file) || self.registry.find(blank.file).is_some()
    }

    fn instance(&mut self, Descriptor { tid, fd }: Descriptor) -> Option<ArenaId> {
        self.registry.find(self.tables.identity(tid, fd).ok()?)
    }

    /// Has the reader of worker `index` look at a descriptor and pass the call on.
    fn ask_reader(&mut self, index: u32, id: NotificationId, tid: u32, what: ReaderKind) -> Outcome {
        let is_mmap = matches!(what, ReaderKind::Mmap(_));
        match self.readers.request(index, &ReaderRequest { id, tid, what }) {
            true => Outcome::Done,
            // It may be of any file: see `target`.
            false if is_mmap => Outcome::Answer(Response::Continue),
            false => Errno::EIO.into(),
        }
    }

    /// Whether a descriptor of an instance was opened with `O_PATH`. A descriptor of access mode 3 looks the same, and
    /// counts as that.
    fn is_path_only(&self, arena: ArenaId, Descriptor { tid, fd }: Descriptor) -> bool {
        let is_uncounted = self.registry.arenas().get(arena).is_some_and(Arena::is_uncounted);
        let neither = Access { readable: false, writable: false };
        !is_uncounted && self.tables.access(tid, fd) == Ok(neither)
    }

    /// A KCOV request on a descriptor of an instance.
    fn ioctl_on(
        &mut self,
        arena: ArenaId,
        descriptor: Descriptor,
        ioctl: KcovIoctl,
        remote: Option<Result<RemoteArg, Errno>>,
    ) -> Outcome {
        if self.is_path_only(arena, descriptor) {
            // The kernel answers EBADF, as for every file.
            return Outcome::Answer(Response::Continue);
        }
        let (tid, KcovIoctl { request, arg, .. }) = (descriptor.tid, ioctl);
        let outcome = match request {
            abi::INIT_TRACE => self.registry.init_again(arena, arg).into(),
            abi::ENABLE | abi::UNIQUE_ENABLE => self.enable(arena, tid, request, arg),
            abi::DISABLE => self.disable(arena, tid, arg),
            abi::REMOTE_ENABLE => self.remote_enable(arena, tid, remote),
            abi::RESET_TRACE => match self.registry.reset_trace(arena, tid, arg) {
                Ok(()) => Outcome::Reset(arena),
                Err(errno) => errno.into(),
            },
            _ => Errno::ENOTTY.into(),
        };
        let (id, command) = (arena.number(), abi::request_name(request));
        match outcome {
            Outcome::Answer(Response::Fail(errno)) => {
                info!(event = "ioctl", id, tid, command, %errno, "refused")
            }
            _ => info!(event = "ioctl", id, tid, command, "done"),
        }
        outcome
    }

    /// `ENABLE` or `UNIQUE_ENABLE`.
    fn enable(&mut self, arena: ArenaId, tid: u32, request: u32, arg: u64) -> Outcome {
        let enabled = match request {
            abi::UNIQUE_ENABLE => self.registry.unique_enable(arena, tid, arg),
            _ => self.registry.enable(arena, tid, arg),
        };
        let enabled = enabled.map(|armed| (armed.mode, armed));
        self.enabled(arena, tid, abi::request_name(request), enabled, |tenant, armed| {
            // While a worker appends for another owner, the broker must not. Records of that owner show that
            // the instance is enabled.
            if tenant.registry.has_several_owners(arena) {
                return;
            }
            let heartbeat = tenant.heartbeat;
            if !tenant.registry.arenas().get(arena).is_some_and(|arena| arena.beat(&armed, &heartbeat)) {
                tenant.workers.count_lost_record();
            }
        })
    }

    fn remote_enable(&mut self, arena: ArenaId, tid: u32, arg: Option<Result<RemoteArg, Errno>>) -> Outcome {
        let arg = arg.unwrap_or(Err(Errno::EFAULT));
        let enabled =
            arg.and_then(|arg| self.registry.remote_enable(arena, tid, &arg)).map(|mode| (mode, ()));
        self.enabled(arena, tid, "REMOTE_ENABLE", enabled, |_, _| {})
    }

    /// Holds on to the new owner of an instance.
    fn enabled<T>(
        &mut self,
        arena: ArenaId,
        tid: u32,
        command: &str,
        enabled: Result<(TraceMode, T), Errno>,
        then: impl FnOnce(&mut Self, T),
    ) -> Outcome {
        let owned = enabled.and_then(|enabled| self.registry.own(tid).map(|()| enabled));
        match owned {
            Ok((mode, armed)) => {
                info!(event = "enable", id = arena.number(), tid, command, mode = mode.name(), "enabled");
                then(self, armed);
                Outcome::Answer(Response::Value(0))
            }
            Err(errno) => errno.into(),
        }
    }

    fn disable(&mut self, arena: ArenaId, tid: u32, arg: u64) -> Outcome {
        let result = self.registry.disable(arena, tid, arg);
        if result.is_ok() {
            if self.log.wants_collections()
                && let Some(area) = self.registry.arenas().get(arena)
            {
                self.log.collected(area.is_unused());
            }
            info!(event = "disable", id = arena.number(), tid, command = "DISABLE", "disabled");
        }
        result.into()
    }

    /// `mmap` with a descriptor, from worker `index`: the kernel maps, unless the device refuses.
    pub(super) fn mmap(&mut self, index: u32, id: NotificationId, tid: u32, mapping: Mapping) -> Outcome {
        match self.target(id, Descriptor { tid, fd: mapping.fd }) {
            Target::Instance(arena) => self.mmap_instance(arena, tid, &mapping),
            Target::Blank => self.ask_reader(index, id, tid, ReaderKind::Mmap(mapping)),
            Target::Other => Outcome::Answer(Response::Continue),
        }
    }

    /// The same, after a reader has looked at the descriptor.
    pub(super) fn mmap_seen(
        &mut self,
        id: NotificationId,
        tid: u32,
        mapping: &Mapping,
        blank: Option<Blank>,
    ) -> Outcome {
        let descriptor = Descriptor { tid, fd: mapping.fd };
        let Some(blank) = blank.filter(|blank| self.is_of_device(blank)) else {
            return match self.instance(descriptor).filter(|_| self.calls.is_in_flight(id)) {
                Some(arena) => self.mmap_instance(arena, tid, mapping),
                None => Outcome::Answer(Response::Continue),
            };
        };
        let arena = self.registry.instance_of(&blank);
        if let Some(Err(errno)) = arena.map(|arena| self.hand_out(id, descriptor, arena, &blank)) {
            return errno.into();
        }
        self.mmap_on(arena, Access::of_flags(blank.flags), mapping)
    }

    fn mmap_instance(&mut self, arena: ArenaId, tid: u32, mapping: &Mapping) -> Outcome {
        match self.tables.access(tid, mapping.fd) {
            Ok(access) => self.mmap_on(Some(arena), access, mapping),
            // No such descriptor any more.
            Err(_) => Outcome::Answer(Response::Continue),
        }
    }

    /// `mmap` of an instance, or of a blank descriptor without one.
    fn mmap_on(&mut self, arena: Option<ArenaId>, access: Access, mapping: &Mapping) -> Outcome {
        let checked = match arena {
            Some(arena) => self.registry.check_mmap(arena, mapping.length, mapping.offset),
            None => Err(Errno::EINVAL),
        };
        match checked {
            Err(errno) if !kernel_refuses_first(access, mapping) => errno.into(),
            // The kernel refuses it itself: an offset that is not a multiple of the page size, a length of 0, ...
            Ok(()) | Err(_) => Outcome::Answer(Response::Continue),
        }
    }

    /// What the device has to do with a call that the kernel is to run: it notes an `execve`, and refuses a mapping that the
    /// device refuses.
    pub(super) fn device_part(&mut self, id: NotificationId, tid: u32, call: &Order) -> Outcome {
        let Order::Call { arch, number, args, .. } = call else { return Outcome::Answer(Response::Continue) };
        match call_name(*arch, *number).as_str() {
            "execve" | "execveat" => self.exec(id, tid),
            "mmap" if !is_i386(*arch) => {
                let [address, length, prot, flags, fd, offset] = *args;
                let (prot, flags, fd) = (prot as u32, flags as u32, fd as i32);
                match self.target(id, Descriptor { tid, fd }) {
                    Target::Instance(arena) if flags & libc::MAP_ANONYMOUS as u32 == 0 => {
                        self.mmap_instance(arena, tid, &Mapping { fd, address, length, offset, prot, flags })
                    }
                    _ => Outcome::Answer(Response::Continue),
                }
            }
            _ => Outcome::Answer(Response::Continue),
        }
    }

    /// `execve` of a thread that may own an instance.
    pub(super) fn exec(&mut self, id: NotificationId, tid: u32) -> Outcome {
        let first = self.registry.exec(tid, id).unwrap_or_else(|errno| {
            warn!(event = "exec_rebind", tid, %errno, "cannot follow an execve: the thread may lose its instance");
            true
        });
        // If another execve of the group is under way, this one is answered once that has ended.
        if first { Outcome::Answer(Response::Continue) } else { Outcome::Done }
    }
}

fn is_i386(arch: u32) -> bool {
    /// `AUDIT_ARCH_I386` (`include/uapi/linux/audit.h`).
    const I386: u32 = 0x4000_0003;
    arch == I386
}

/// Whether `do_mmap` (`mm/mmap.c`, Linux 6.12) refuses before it asks the device: for impossible addresses and offsets,
/// the type of the mapping, or the access mode of the descriptor. Limits and existing mappings are not checked: they are
/// in the caller's memory, which the broker does not touch.
fn kernel_refuses_first(access: Access, mapping: &Mapping) -> bool {
    const MAP_TYPE: u32 = 0x0f;
    /// `LEGACY_MAP_MASK` (`include/linux/mman.h`): what `MAP_SHARED_VALIDATE` accepts, without the sizes of huge pages,
    /// which devices do not have.
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
    is_impossible(mapping) || !readable || shared && prot & libc::PROT_WRITE as u32 != 0 && !writable
}

/// Whether a mapping is larger than the address space, or ends beyond it or beyond the largest file (`ENOMEM`,
/// `EOVERFLOW`).
fn is_impossible(mapping: &Mapping) -> bool {
    /// End of a process's addresses (`TASK_SIZE`): with four levels of page tables on x86-64, 48 bits on aarch64.
    const SPACE: u64 = if cfg!(target_arch = "aarch64") { 1 << 48 } else { (1 << 47) - PAGE };
    /// Lowest address that the kernel chooses (`vm.mmap_min_addr`, by default).
    const LOWEST: u64 = 1 << 16;
    /// The smallest page size. The end is rounded up to pages; larger ones make no difference here.
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
        Mapping { fd: 3, address, length, offset, prot: libc::PROT_READ as u32, flags: flags as u32 }
    }

    #[test]
    fn the_kernel_refuses_impossible_mappings() {
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
    fn the_device_decides_on_possible_mappings() {
        for (address, length, offset) in [(0, 8192, 0), (u64::MAX, 1 << 40, 0), (0, 4096, 1 << 62)] {
            let asked = mapping(address, length, offset, libc::MAP_SHARED);
            assert!(!kernel_refuses_first(BOTH, &asked), "{address:#x} {length:#x} {offset:#x}");
        }
    }
}
