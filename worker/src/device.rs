//! The service of the KCOV device: ioctl, mmap, the `execve` that hands an instance on, and opens of handlers' devices.
//!
//! It recognises the call and leaves it to the broker, which owns the instances, or to the reader, if its arguments are in
//! memory or its descriptor may be of a file that is not an instance yet. Calls that do not concern a device continue in
//! the kernel.

use crate::assist::AssistError;
use crate::call::{Abi, Call};
use crate::call_table::CallTable;
use crate::context::Context;
use crate::outcome::Outcome;
use crate::service::Service;
use crate::trace::Tracer;
use kcov_proto::abi;
use kcov_proto::message::{KcovIoctl, Mapping, ReaderKind, RequestKind};
use kcov_proto::slot::Kind;
use libseccomp::ScmpSyscall;
use std::rc::Rc;

/// The calls that may concern the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeviceCall {
    Open,
    Openat,
    Openat2,
    Creat,
    Ioctl,
    Mmap,
    /// i386 `mmap2`: the offset counts pages of 4096 bytes.
    Mmap2,
    /// i386 `mmap`: the arguments are in memory.
    OldMmap,
    Exec,
}

/// The service of the KCOV device.
#[derive(Debug)]
pub struct Device {
    calls: CallTable<DeviceCall>,
    tracer: Rc<Tracer>,
    /// Whether handlers have devices, whose opens are left to the reader.
    has_devices: bool,
}

fn numbers() -> CallTable<DeviceCall> {
    use DeviceCall::{Creat, Exec, Ioctl, Mmap, Mmap2, OldMmap, Open, Openat, Openat2};
    let names = [
        ("open", Open),
        ("openat", Openat),
        ("openat2", Openat2),
        ("creat", Creat),
        ("ioctl", Ioctl),
        ("mmap", Mmap),
        ("mmap2", Mmap2),
        ("execve", Exec),
        ("execveat", Exec),
    ];
    let mut calls = CallTable::default();
    for abi in [Abi::Native, Abi::I386, Abi::X32] {
        if abi != Abi::Native && !cfg!(target_arch = "x86_64") {
            continue;
        }
        for (name, call) in names {
            let number = abi.arch().map(|arch| ScmpSyscall::from_name_by_arch(name, arch).map(i32::from));
            // A negative number is libseccomp's own, for a call that this table does not have.
            if let Some(Ok(number @ 0..)) = number
                && let Some(entry) = calls.entry(abi, number)
            {
                *entry = Some(if abi == Abi::I386 && call == Mmap { OldMmap } else { call });
            }
        }
    }
    calls
}

impl Device {
    /// The service. `tracer` records the edges of its calls; `has_devices`: handlers have devices, which callers open.
    #[must_use]
    pub fn new(tracer: Rc<Tracer>, has_devices: bool) -> Self {
        Device { calls: numbers(), tracer, has_devices }
    }

    fn what(&self, call: &Call) -> Option<DeviceCall> {
        use DeviceCall::{Creat, Open, Openat, Openat2};
        let what = self.calls.get(call.abi, call.number).copied()?;
        (self.has_devices || !matches!(what, Creat | Open | Openat | Openat2)).then_some(what)
    }

    fn serve(&self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        let [a0, a1, a2, a3, a4, a5] = call.args;
        let creat = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
        let open = |dirfd, address, flags| ReaderKind::Open { flags, dirfd, address, resolve: 0 };
        match self.what(call) {
            Some(DeviceCall::Open) => context.leave_to_reader(call, open(libc::AT_FDCWD, a0, a1 as i32)),
            Some(DeviceCall::Openat) => context.leave_to_reader(call, open(a0 as i32, a1, a2 as i32)),
            Some(DeviceCall::Creat) => context.leave_to_reader(call, open(libc::AT_FDCWD, a0, creat)),
            Some(DeviceCall::Openat2) => context.leave_to_reader(
                call,
                ReaderKind::Openat2 { dirfd: a0 as i32, address: a1, how: a2, size: a3 },
            ),
            Some(DeviceCall::Ioctl) => Self::ioctl(call, context),
            Some(DeviceCall::Mmap) => Self::mmap(call, context, [a0, a1, a2, a3, a4, a5]),
            Some(DeviceCall::Mmap2) => {
                Self::mmap(call, context, [a0, a1, a2, a3, a4, (a5 & 0xffff_ffff) << 12])
            }
            Some(DeviceCall::OldMmap) => {
                context.leave_to_reader(call, ReaderKind::OldMmap { address: a0 & 0xffff_ffff })
            }
            Some(DeviceCall::Exec) => Self::exec(call, context),
            None => Ok(Outcome::Continue),
        }
    }

    fn ioctl(call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        let [fd, request, arg, ..] = call.args;
        // The kernel looks at the low 32 bits of both.
        let (fd, request) = (fd as i32, request as u32);
        if !abi::is_kcov_request(request) {
            return Ok(Outcome::Continue);
        }
        let ioctl = KcovIoctl { fd, request, arg };
        // The first request on a descriptor, and the one whose argument is in memory.
        if matches!(request, abi::INIT_TRACE | abi::REMOTE_ENABLE) {
            return context.leave_to_reader(call, ReaderKind::Ioctl(ioctl));
        }
        let what = RequestKind::Ioctl(ioctl);
        if !what.wants_reply() {
            return context.leave(call, what);
        }
        let reply = context.ask(call, what)?;
        if let Some(reset) = reply.reset {
            context.reset(call, reset)?;
        }
        Ok(reply.response.map_or(Outcome::Answered, Outcome::from))
    }

    /// `[address, length, prot, flags, fd, offset]`, the offset in bytes.
    fn mmap(call: &Call, context: &mut Context, args: [u64; 6]) -> Result<Outcome, AssistError> {
        let [address, length, prot, flags, fd, offset] = args;
        let (prot, flags, fd) = (prot as u32, flags as u32, fd as i32);
        if flags & libc::MAP_ANONYMOUS as u32 != 0 || fd < 0 {
            return Ok(Outcome::Continue);
        }
        context.leave(call, RequestKind::Mmap(Mapping { fd, address, length, offset, prot, flags }))
    }

    fn exec(call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        if !context.roster().is_some_and(|roster| roster.has_owners()) {
            return Ok(Outcome::Continue);
        }
        context.leave(call, RequestKind::Exec)
    }
}

impl Service for Device {
    fn claims(&self, call: &Call) -> bool {
        self.what(call).is_some()
    }

    fn kind(&self, call: &Call) -> Kind {
        match self.what(call) {
            Some(DeviceCall::Ioctl) => Kind::Ioctl,
            Some(DeviceCall::Mmap | DeviceCall::Mmap2 | DeviceCall::OldMmap) => Kind::Mmap,
            Some(DeviceCall::Exec) => Kind::Exec,
            Some(DeviceCall::Open | DeviceCall::Openat | DeviceCall::Openat2 | DeviceCall::Creat) | None => {
                Kind::Open
            }
        }
    }

    /// A `DISABLE` leaves no record: clients have read their trace by then, and the area might have to be mapped for it.
    fn is_recorded(&self, call: &Call) -> bool {
        self.what(call) != Some(DeviceCall::Ioctl) || call.args[1] as u32 != abi::DISABLE
    }

    fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        // First: a DISABLE ends the recording.
        self.tracer.record(call);
        self.serve(call, context)
    }
}
