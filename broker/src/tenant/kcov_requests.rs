//! Requests of the KCOV device: open, ioctl, mmap, and the `execve` that hands an instance on.

use super::Tenant;
use super::requests::Outcome;
use crate::kcov::arena::Arena;
use crate::sys::descriptor::Access;
use crate::sys::listener::Answer;
use kcov_proto::Errno;
use kcov_proto::abi::{self, RemoteArg};
use kcov_proto::device::ArenaId;
use kcov_proto::message::{FileId, Heartbeat, NotificationId};
use std::os::fd::AsFd;
use tracing::{info, warn};

impl Tenant {
    /// `open` of the device: an instance, and a descriptor for the caller in the same step as the answer.
    pub(super) fn open(
        &mut self,
        id: NotificationId,
        tid: u32,
        flags: i32,
        reopened: Option<FileId>,
    ) -> Outcome {
        if let Some(file) = reopened
            && self.registry.find(file).is_none()
        {
            return match self.device_of(file) {
                Some(device) => self.open_device(id, tid, device, flags.cast_unsigned()),
                None => Outcome::Answer(Answer::Continue),
            };
        }
        let errno = match self.registry.open(flags) {
            Err(errno) => errno,
            Ok((arena, description)) => {
                let close_on_exec = flags & libc::O_CLOEXEC != 0;
                match self.calls.answer_with_descriptor(id, description.as_fd(), close_on_exec) {
                    Ok(fd) => {
                        info!(event = "open", id = arena.number(), tid, command = "open", fd, "opened");
                        return Outcome::Done;
                    }
                    Err(errno) => {
                        drop(description);
                        self.registry.abandon(arena);
                        errno
                    }
                }
            }
        };
        info!(event = "open", tid, command = "open", %errno, "refused");
        errno.into()
    }

    /// The instance behind a descriptor of the caller; `None` if there is none, or if the caller is gone.
    fn instance(&mut self, id: NotificationId, tid: u32, fd: i32) -> Option<ArenaId> {
        let arena = self.registry.find(self.tables.identity(tid, fd).ok()?)?;
        // Checked after the look: the thread of that number was the caller all the time.
        self.calls.is_in_flight(id).then_some(arena)
    }

    /// Whether a descriptor of an instance was opened with `O_PATH`. An instance that was opened with access mode 3 looks
    /// the same, and counts as that.
    fn is_path_only(&self, arena: ArenaId, tid: u32, fd: i32) -> bool {
        let is_uncounted = self.registry.arenas().get(arena).is_some_and(Arena::is_uncounted);
        let neither = Access { readable: false, writable: false };
        !is_uncounted && self.tables.access(tid, fd) == Ok(neither)
    }

    /// `ioctl` with a KCOV request.
    pub(super) fn ioctl(&mut self, id: NotificationId, tid: u32, fd: i32, request: Request) -> Outcome {
        let Some(arena) = self.instance(id, tid, fd) else { return Outcome::Answer(Answer::Continue) };
        if self.is_path_only(arena, tid, fd) {
            // The kernel answers EBADF, as for every file.
            return Outcome::Answer(Answer::Continue);
        }
        let Request { request, arg, remote, heartbeat } = request;
        let outcome = match request {
            abi::INIT_TRACE => self.registry.init_trace(arena, arg).into(),
            abi::ENABLE => self.enable(arena, tid, arg, &heartbeat),
            abi::DISABLE => self.disable(arena, tid, arg),
            abi::REMOTE_ENABLE => self.remote_enable(arena, tid, remote),
            abi::RESET_TRACE => match self.registry.reset_trace(arena, tid, arg) {
                Ok(()) => Outcome::Reset(arena),
                Err(errno) => errno.into(),
            },
            _ => Errno::ENOTTY.into(),
        };
        let command = abi::request_name(request);
        match outcome {
            Outcome::Answer(Answer::Fail(errno)) => {
                info!(event = "ioctl", id = arena.number(), tid, command, %errno, "refused")
            }
            _ => info!(event = "ioctl", id = arena.number(), tid, command, "done"),
        }
        outcome
    }

    fn enable(&mut self, arena: ArenaId, tid: u32, arg: u64, heartbeat: &Heartbeat) -> Outcome {
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
                    self.workers.count_lost_record();
                }
                Outcome::Answer(Answer::Value(0))
            }
            Err(errno) => errno.into(),
        }
    }

    fn disable(&mut self, arena: ArenaId, tid: u32, arg: u64) -> Outcome {
        let result = self.registry.disable(arena, tid, arg);
        if result.is_ok() {
            info!(event = "disable", id = arena.number(), tid, command = "DISABLE", "disabled");
        }
        result.into()
    }

    fn remote_enable(&mut self, arena: ArenaId, tid: u32, arg: Option<Result<RemoteArg, Errno>>) -> Outcome {
        let enabled = arg.unwrap_or(Err(Errno::EFAULT)).and_then(|arg| {
            let mode = self.registry.remote_enable(arena, tid, &arg)?;
            self.registry.own(tid)?;
            Ok(mode)
        });
        match enabled {
            Ok(mode) => {
                let command = "REMOTE_ENABLE";
                info!(event = "enable", id = arena.number(), tid, command, mode = mode.name(), "enabled");
                Outcome::Answer(Answer::Value(0))
            }
            Err(errno) => errno.into(),
        }
    }

    /// `mmap` of a descriptor: the kernel maps, unless the device refuses.
    pub(super) fn mmap(&mut self, id: NotificationId, tid: u32, fd: i32, mapping: &Mapping) -> Outcome {
        let Some(arena) = self.instance(id, tid, fd) else { return Outcome::Answer(Answer::Continue) };
        match self.registry.check_mmap(arena, mapping.length, mapping.offset) {
            Err(errno)
                if self.tables.access(tid, fd).is_ok_and(|access| !kernel_refuses_first(access, mapping)) =>
            {
                errno.into()
            }
            // The kernel refuses it itself: an offset that is not a multiple of the page size, a length of 0, ...
            Ok(()) | Err(_) => Outcome::Answer(Answer::Continue),
        }
    }

    /// `execve` of a thread that may own an instance.
    pub(super) fn exec(&mut self, id: NotificationId, tid: u32) -> Outcome {
        let first = self.registry.exec(tid, id).unwrap_or_else(|errno| {
            warn!(event = "exec_rebind", tid, %errno, "cannot follow an execve: the thread may lose its instance");
            true
        });
        // If another execve of the group is under way, this one is answered once that has ended.
        if first { Outcome::Answer(Answer::Continue) } else { Outcome::Done }
    }
}

/// A KCOV request.
pub(super) struct Request {
    /// Low 32 bits of the request.
    pub(super) request: u32,
    /// The argument register.
    pub(super) arg: u64,
    /// For `REMOTE_ENABLE`: its argument, as the reader has read it.
    pub(super) remote: Option<Result<RemoteArg, Errno>>,
    /// The record that an `ENABLE` leaves.
    pub(super) heartbeat: Heartbeat,
}

/// The arguments of an `mmap`.
pub(super) struct Mapping {
    pub(super) address: u64,
    pub(super) length: u64,
    pub(super) offset: u64,
    pub(super) prot: u32,
    pub(super) flags: u32,
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
        Mapping { address, length, offset, prot: libc::PROT_READ as u32, flags: flags as u32 }
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
