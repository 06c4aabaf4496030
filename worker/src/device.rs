//! The service of the KCOV device: open, ioctl, mmap, and the `execve` that hands an instance on.
//!
//! It decides what a call is about and fetches what the broker needs to know; the broker, which owns the instances,
//! decides. A call that turns out not to concern the device goes on to the kernel.

use crate::assist::AssistError;
use crate::call::{Abi, Call};
use crate::call_table::CallTable;
use crate::context::Context;
use crate::service::{Outcome, Service};
use crate::trace::Tracer;
use kcov_proto::abi;
use kcov_proto::message::{AssistKind, ReaderKind};
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
    /// The service, with the tracer that leaves the edges of its calls.
    #[must_use]
    pub fn new(tracer: Rc<Tracer>) -> Self {
        Device { calls: numbers(), tracer }
    }

    fn what(&self, call: &Call) -> Option<DeviceCall> {
        self.calls.get(call.abi, call.number).copied()
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
            Some(DeviceCall::OldMmap) if has_instances(context) => {
                context.leave_to_reader(call, ReaderKind::OldMmap { address: a0 & 0xffff_ffff })
            }
            Some(DeviceCall::Exec) => Self::exec(call, context),
            Some(DeviceCall::OldMmap) | None => Ok(Outcome::Continue),
        }
    }

    fn ioctl(call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        let [fd, request, arg, ..] = call.args;
        // The kernel looks at the low 32 bits of both.
        let (fd, request) = (fd as i32, request as u32);
        if !abi::is_kcov_request(request) || !has_instances(context) {
            return Ok(Outcome::Continue);
        }
        if request == abi::REMOTE_ENABLE {
            return context.leave_to_reader(call, ReaderKind::RemoteEnable { fd, address: arg });
        }
        let what = AssistKind::Ioctl { fd, request, arg, remote: None };
        if !what.wants_reply() {
            return context.leave(call, what);
        }
        let reply = context.ask(call, what)?;
        if let Some(id) = reply.reset {
            context.reset(call, id)?;
        }
        Ok(reply.verdict.into())
    }

    /// `[address, length, prot, flags, fd, offset]`, the offset in bytes.
    fn mmap(call: &Call, context: &mut Context, args: [u64; 6]) -> Result<Outcome, AssistError> {
        let [address, length, prot, flags, fd, offset] = args;
        let (prot, flags, fd) = (prot as u32, flags as u32, fd as i32);
        if flags & libc::MAP_ANONYMOUS as u32 != 0 || fd < 0 || !has_instances(context) {
            return Ok(Outcome::Continue);
        }
        context.leave(call, AssistKind::Mmap { fd, address, length, offset, prot, flags })
    }

    fn exec(call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        if !context.roster().is_some_and(|roster| roster.has_owners()) {
            return Ok(Outcome::Continue);
        }
        context.leave(call, AssistKind::Exec)
    }
}

fn has_instances(context: &Context) -> bool {
    context.roster().is_some_and(|roster| roster.has_instances())
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

    /// A `DISABLE` leaves nothing: clients have read their trace by then, and the area would have to be mapped only to
    /// write of its own end.
    fn is_recorded(&self, call: &Call) -> bool {
        self.what(call) != Some(DeviceCall::Ioctl) || call.args[1] as u32 != abi::DISABLE
    }

    fn handle(&mut self, call: &Call, context: &mut Context) -> Result<Outcome, AssistError> {
        // The edge of the call comes first: a DISABLE ends the recording, an open may enter another area's life.
        self.tracer.record(call);
        self.serve(call, context)
    }
}
