//! Strategies for every type of message. A kind that is missing here breaks the build, at the end of the
//! file.

use kcov_proto::Errno;
use kcov_proto::abi::{REMOTE_MAX_HANDLES, RemoteArg};
use kcov_proto::claims::{CallClaim, Claims, Condition, DeviceClaim, HandlerClaims};
use kcov_proto::device::ArenaId;
use kcov_proto::message::{
    Assist, AssistKind, AssistReply, FileId, Heartbeat, LoadedModule, MAX_CLOSED, MAX_DROPS, MAX_READ,
    ModulePcs, Order, ReaderKind, ReaderReply, ReaderRequest, Verdict, ZygoteReply, ZygoteRequest,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

pub fn errno() -> impl Strategy<Value = Errno> {
    any::<i32>().prop_map(Errno)
}

pub fn file() -> impl Strategy<Value = FileId> {
    (any::<u64>(), any::<u64>()).prop_map(|(device, inode)| FileId { device, inode })
}

pub fn arena() -> impl Strategy<Value = ArenaId> {
    (any::<u32>(), any::<u32>()).prop_map(|(index, generation)| ArenaId { index, generation })
}

pub fn remote_arg() -> impl Strategy<Value = RemoteArg> {
    let handles = vec(any::<u64>(), 0..=REMOTE_MAX_HANDLES as usize);
    (any::<u32>(), any::<u32>(), any::<u64>(), handles).prop_map(
        |(trace_mode, area_size, common_handle, handles)| RemoteArg {
            trace_mode,
            area_size,
            common_handle,
            handles,
        },
    )
}

fn assist_kind() -> impl Strategy<Value = AssistKind> {
    let remote = option::of(prop_oneof![remote_arg().prop_map(Ok), errno().prop_map(Err)]);
    prop_oneof![
        (any::<u64>(), any::<[u64; 4]>())
            .prop_map(|(pc, cmp)| AssistKind::Ready { heartbeat: Heartbeat { pc, cmp } }),
        (any::<u32>(), option::of(file()), option::of(any::<u16>()))
            .prop_map(|(flags, reopened, device)| AssistKind::Open { flags, reopened, device }),
        prop_oneof![Just(Ok(())), errno().prop_map(Err)].prop_map(|result| AssistKind::Opened { result }),
        any::<i32>().prop_map(|fd| AssistKind::File { fd }),
        any::<bool>().prop_map(|close_on_exec| AssistKind::Inject { close_on_exec }),
        (".{0,60}", ".{0,300}").prop_map(|(handler, reason)| AssistKind::Reason { handler, reason }),
        ".{0,60}".prop_map(|handler| AssistKind::Silence { handler }),
        (any::<[u64; 2]>(), any::<u64>()).prop_map(|(ids, pc)| AssistKind::Collision { ids, pc }),
        (any::<i32>(), any::<u32>(), any::<u64>(), remote)
            .prop_map(|(fd, request, arg, remote)| AssistKind::Ioctl { fd, request, arg, remote }),
        (any::<i32>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>()).prop_map(
            |(fd, address, length, offset, prot, flags)| AssistKind::Mmap {
                fd,
                address,
                length,
                offset,
                prot,
                flags
            }
        ),
        Just(AssistKind::Exec),
        Just(AssistKind::Settle),
        arena().prop_map(AssistKind::Arena),
        Just(AssistKind::Reader),
    ]
}

pub fn assist() -> impl Strategy<Value = Assist> {
    (any::<u64>(), any::<u32>(), assist_kind()).prop_map(|(id, tid, what)| Assist { id, tid, what })
}

pub fn assist_reply() -> impl Strategy<Value = AssistReply> {
    let verdict = prop_oneof![
        any::<i64>().prop_map(Verdict::Value),
        errno().prop_map(Verdict::Fail),
        Just(Verdict::Continue)
    ];
    let given = option::of((arena(), any::<u64>()));
    let file = option::of((arena(), any::<u16>()));
    (any::<u64>(), verdict, given, file, option::of(arena()), vec(arena(), 0..=MAX_DROPS)).prop_map(
        |(id, verdict, arena, file, reset, drops)| AssistReply { id, verdict, arena, file, reset, drops },
    )
}

pub fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        (any::<u64>(), any::<u32>(), any::<u16>(), any::<u32>(), arena())
            .prop_map(|(id, tid, device, flags, file)| Order::Open { id, tid, device, flags, file }),
        vec(arena(), 0..=MAX_CLOSED).prop_map(Order::Closed),
        (any::<u64>(), any::<u32>(), any::<u32>(), any::<i32>(), any::<[u64; 6]>())
            .prop_map(|(id, tid, arch, number, args)| Order::Call { id, tid, arch, number, args }),
    ]
}

fn claims() -> impl Strategy<Value = Claims> {
    let condition = (any::<u8>(), any::<u64>(), any::<u64>()).prop_map(|(argument, mask, value)| Condition {
        argument,
        mask,
        value,
    });
    let call = ("[a-z0-9_]{0,20}", vec(condition, 0..7)).prop_map(|(call, when)| CallClaim { call, when });
    let device = ("(/dev/)?.{0,30}", any::<u32>(), any::<u32>())
        .prop_map(|(path, first, last)| DeviceClaim { path, first, last });
    let handler = (".{0,20}", vec(call, 0..5), vec(device, 0..3), any::<bool>())
        .prop_map(|(name, calls, devices, idempotent)| HandlerClaims { name, calls, devices, idempotent });
    vec(handler, 0..4).prop_map(|handlers| Claims { handlers })
}

fn reader_kind() -> impl Strategy<Value = ReaderKind> {
    prop_oneof![
        (any::<u64>(), any::<u32>()).prop_map(|(address, length)| ReaderKind::Memory { address, length }),
        (any::<u64>(), vec(any::<u8>(), 0..300))
            .prop_map(|(address, bytes)| ReaderKind::Write { address, bytes }),
        (any::<i32>(), any::<i32>(), any::<u64>(), any::<u64>())
            .prop_map(|(flags, dirfd, address, resolve)| ReaderKind::Open { flags, dirfd, address, resolve }),
        (any::<i32>(), any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(dirfd, address, how, size)| ReaderKind::Openat2 { dirfd, address, how, size }),
        (any::<i32>(), any::<u64>()).prop_map(|(fd, address)| ReaderKind::RemoteEnable { fd, address }),
        any::<u64>().prop_map(|address| ReaderKind::OldMmap { address }),
    ]
}

pub fn reader_request() -> impl Strategy<Value = ReaderRequest> {
    (any::<u64>(), any::<u32>(), reader_kind()).prop_map(|(id, tid, what)| ReaderRequest { id, tid, what })
}

pub fn reader_reply() -> impl Strategy<Value = ReaderReply> {
    prop_oneof![
        prop_oneof![8 => vec(any::<u8>(), 0..300), 1 => any::<u8>().prop_map(|byte| vec![byte; MAX_READ])]
            .prop_map(ReaderReply::Memory),
        errno().prop_map(ReaderReply::Fail),
        Just(ReaderReply::Gone),
        Just(ReaderReply::Written),
    ]
}

pub fn zygote_request() -> impl Strategy<Value = ZygoteRequest> {
    any::<u32>().prop_map(|index| ZygoteRequest::Fork { index })
}

fn module_pcs() -> impl Strategy<Value = ModulePcs> {
    prop_oneof![
        Just(ModulePcs::None),
        any::<u64>().prop_map(ModulePcs::Home),
        any::<u64>().prop_map(ModulePcs::Moved),
        Just(ModulePcs::NoRoom),
    ]
}

pub fn zygote_reply() -> impl Strategy<Value = ZygoteReply> {
    prop_oneof![
        claims().prop_map(|claims| ZygoteReply::Ready { claims }),
        vec((".{0,40}", any::<u64>(), any::<u64>(), any::<u64>(), module_pcs()), 0..5).prop_map(|modules| {
            let module = |(path, start, end, bias, pcs)| LoadedModule { path, start, end, bias, pcs };
            ZygoteReply::Loaded { modules: modules.into_iter().map(module).collect() }
        }),
        ".{0,60}".prop_map(|handler| ZygoteReply::Loading { handler }),
        ".{0,300}".prop_map(|message| ZygoteReply::Refused { message }),
        ".{0,300}".prop_map(|message| ZygoteReply::Unjailed { message }),
        any::<u32>().prop_map(|pid| ZygoteReply::Forked { pid }),
        (any::<u32>(), any::<i32>(), any::<i32>()).prop_map(|(pid, signal, status)| ZygoteReply::Exited {
            pid,
            signal,
            status
        }),
        errno().prop_map(ZygoteReply::Failed),
    ]
}

/// Has one arm for each kind that a strategy above generates.
const _: fn(AssistKind, Verdict, ReaderKind, ReaderReply, ZygoteRequest, ZygoteReply, Order) =
    |assist, verdict, reader, reply, fork, zygote, order| {
        match assist {
            AssistKind::Ready { heartbeat: Heartbeat { pc: _, cmp: _ } } => {}
            AssistKind::Exec | AssistKind::Settle | AssistKind::Reader => {}
            AssistKind::Open { flags: _, reopened: _, device: _ } => {}
            AssistKind::Opened { result: _ } | AssistKind::File { fd: _ } => {}
            AssistKind::Inject { close_on_exec: _ } => {}
            AssistKind::Silence { handler: _ } => {}
            AssistKind::Reason { handler: _, reason: _ } | AssistKind::Collision { ids: _, pc: _ } => {}
            AssistKind::Ioctl { fd: _, request: _, arg: _, remote: _ } => {}
            AssistKind::Mmap { fd: _, address: _, length: _, offset: _, prot: _, flags: _ } => {}
            AssistKind::Arena(_) => {}
        }
        match order {
            Order::Open { id: _, tid: _, device: _, flags: _, file: _ } | Order::Closed(_) => {}
            Order::Call { id: _, tid: _, arch: _, number: _, args: _ } => {}
        }
        match verdict {
            Verdict::Value(_) | Verdict::Fail(_) | Verdict::Continue => {}
        }
        match reader {
            ReaderKind::Memory { address: _, length: _ } => {}
            ReaderKind::Write { address: _, bytes: _ } => {}
            ReaderKind::Open { flags: _, dirfd: _, address: _, resolve: _ } => {}
            ReaderKind::Openat2 { dirfd: _, address: _, how: _, size: _ } => {}
            ReaderKind::RemoteEnable { fd: _, address: _ } | ReaderKind::OldMmap { address: _ } => {}
        }
        match reply {
            ReaderReply::Memory(_) | ReaderReply::Fail(_) | ReaderReply::Gone | ReaderReply::Written => {}
        }
        match fork {
            ZygoteRequest::Fork { index: _ } => {}
        }
        match zygote {
            ZygoteReply::Ready { claims: _ } | ZygoteReply::Forked { pid: _ } | ZygoteReply::Failed(_) => {}
            ZygoteReply::Exited { pid: _, signal: _, status: _ } => {}
            ZygoteReply::Loaded { modules: _ } => {}
            ZygoteReply::Loading { handler: _ }
            | ZygoteReply::Refused { message: _ }
            | ZygoteReply::Unjailed { message: _ } => {}
        }
    };
