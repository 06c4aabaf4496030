//! Strategies for every type of message. A kind that is missing here breaks the build, at the end of the
//! file.

use kcov_proto::Errno;
use kcov_proto::abi::{REMOTE_MAX_HANDLES, RemoteArg, TraceMode};
use kcov_proto::claims::{CallClaim, Claims, Condition, DeviceClaim, HandlerClaims};
use kcov_proto::device::{ArenaId, RemoteTarget};
use kcov_proto::message::{
    Blank, ClosedFile, Closer, FileId, Forward, ForwardedCall, Heartbeat, KcovIoctl, LoadedModule,
    MAX_CLOSED, MAX_DROPS, MAX_READ, Mapping, ModulePcs, Order, ReaderKind, ReaderReply, ReaderRequest,
    RemoteReply, Reply, Request, RequestKind, ResetTrace, Response, ZygoteReply, ZygoteRequest,
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

fn ioctl() -> impl Strategy<Value = KcovIoctl> {
    (any::<i32>(), any::<u32>(), any::<u64>()).prop_map(|(fd, request, arg)| KcovIoctl { fd, request, arg })
}

fn mapping() -> impl Strategy<Value = Mapping> {
    (any::<i32>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>()).prop_map(
        |(fd, address, length, offset, prot, flags)| Mapping { fd, address, length, offset, prot, flags },
    )
}

fn request_kind() -> impl Strategy<Value = RequestKind> {
    prop_oneof![
        (any::<u64>(), any::<[u64; 4]>())
            .prop_map(|(pc, cmp)| RequestKind::Ready { heartbeat: Heartbeat { pc, cmp } }),
        prop_oneof![Just(Ok(())), errno().prop_map(Err)].prop_map(|result| RequestKind::Opened { result }),
        any::<i32>().prop_map(|fd| RequestKind::File { fd }),
        any::<bool>().prop_map(|close_on_exec| RequestKind::Inject { close_on_exec }),
        (".{0,60}", ".{0,300}").prop_map(|(handler, reason)| RequestKind::Reason { handler, reason }),
        ".{0,60}".prop_map(|handler| RequestKind::Silence { handler }),
        (any::<[u64; 2]>(), any::<u64>()).prop_map(|(ids, pc)| RequestKind::Collision { ids, pc }),
        any::<u64>().prop_map(|handle| RequestKind::RemoteStart { handle }),
        (arena(), any::<u64>()).prop_map(|(arena, sequence)| RequestKind::RemoteStop { arena, sequence }),
        any::<[u64; 2]>().prop_map(|[stored, lost]| RequestKind::RemoteDone { stored, lost }),
        Just(RequestKind::RemoteUnbuffered),
        Just(RequestKind::CommonHandle),
        any::<[u32; 2]>().prop_map(|[first, last]| RequestKind::Closing { first, last }),
        Just(RequestKind::Closed),
        option::of(any::<bool>()).prop_map(|thread| RequestKind::Cloning { thread }),
        ioctl().prop_map(RequestKind::Ioctl),
        mapping().prop_map(RequestKind::Mmap),
        Just(RequestKind::Exec),
        Just(RequestKind::Settle),
        arena().prop_map(RequestKind::Arena),
        Just(RequestKind::Reader),
    ]
}

pub fn request() -> impl Strategy<Value = Request> {
    (any::<u64>(), any::<u32>(), request_kind()).prop_map(|(id, tid, what)| Request { id, tid, what })
}

pub fn reply() -> impl Strategy<Value = Reply> {
    let response = option::of(prop_oneof![
        any::<i64>().prop_map(Response::Value),
        errno().prop_map(Response::Fail),
        Just(Response::Continue)
    ]);
    let given = option::of((arena(), any::<u64>()));
    let file = option::of((arena(), any::<u16>()));
    let reset = (arena(), any::<u64>()).prop_map(|(arena, bitmap)| ResetTrace { arena, bitmap });
    let reset = option::of(reset);
    let remote = option::of(remote_reply());
    let lists = (vec(closed_file(), 0..=MAX_CLOSED), vec(arena(), 0..=MAX_DROPS));
    (any::<u64>(), response, given, file, reset, remote, lists).prop_map(
        |(id, response, arena, file, reset, remote, (closed, drops))| Reply {
            id,
            response,
            arena,
            file,
            reset,
            remote,
            closed,
            drops,
        },
    )
}

fn remote_target() -> impl Strategy<Value = RemoteTarget> {
    let mode = prop_oneof![Just(TraceMode::Pc), Just(TraceMode::Cmp)];
    (arena(), mode, any::<u64>(), any::<u32>(), any::<u64>()).prop_map(
        |(arena, mode, words, area_size, sequence)| RemoteTarget { arena, mode, words, area_size, sequence },
    )
}

fn closed_file() -> impl Strategy<Value = ClosedFile> {
    let closer = (any::<u32>(), option::of(remote_target())).prop_map(|(tid, target)| Closer { tid, target });
    (arena(), option::of(closer)).prop_map(|(file, closer)| ClosedFile { file, closer })
}

fn remote_reply() -> impl Strategy<Value = RemoteReply> {
    prop_oneof![
        option::of(remote_target()).prop_map(RemoteReply::Target),
        any::<bool>().prop_map(RemoteReply::Append),
        any::<u64>().prop_map(RemoteReply::Common),
    ]
}

pub fn forward() -> impl Strategy<Value = Forward> {
    let remote = option::of(prop_oneof![remote_arg().prop_map(Ok), errno().prop_map(Err)]);
    let blank = || {
        option::of((file(), option::of(any::<u64>()), any::<i32>()))
            .prop_map(|blank| blank.map(|(file, mark, flags)| Blank { file, mark, flags }))
    };
    let call = prop_oneof![
        (any::<u16>(), any::<u32>()).prop_map(|(device, flags)| ForwardedCall::OpenDevice { device, flags }),
        (file(), any::<u32>()).prop_map(|(file, flags)| ForwardedCall::Reopen { file, flags }),
        (ioctl(), remote, blank()).prop_map(|(ioctl, remote, blank)| ForwardedCall::Ioctl {
            ioctl,
            remote,
            blank
        }),
        (mapping(), blank()).prop_map(|(mapping, blank)| ForwardedCall::Mmap { mapping, blank }),
    ];
    (any::<u64>(), any::<u32>(), call).prop_map(|(id, tid, call)| Forward { id, tid, call })
}

pub fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        (any::<u64>(), any::<u32>(), any::<u16>(), any::<u32>(), arena())
            .prop_map(|(id, tid, device, flags, file)| Order::Open { id, tid, device, flags, file }),
        vec(closed_file(), 0..=MAX_CLOSED).prop_map(Order::Closed),
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
        ioctl().prop_map(ReaderKind::Ioctl),
        mapping().prop_map(ReaderKind::Mmap),
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
const _: fn(
    RequestKind,
    Response,
    ForwardedCall,
    ReaderKind,
    ReaderReply,
    ZygoteRequest,
    ZygoteReply,
    Order,
) = |request, response, forwarded, reader, reply, fork, zygote, order| {
    match request {
        RequestKind::Ready { heartbeat: Heartbeat { pc: _, cmp: _ } } => {}
        RequestKind::Exec | RequestKind::Settle | RequestKind::Reader => {}
        RequestKind::Opened { result: _ } | RequestKind::File { fd: _ } => {}
        RequestKind::Inject { close_on_exec: _ } => {}
        RequestKind::Silence { handler: _ } => {}
        RequestKind::Reason { handler: _, reason: _ } | RequestKind::Collision { ids: _, pc: _ } => {}
        RequestKind::Ioctl(KcovIoctl { fd: _, request: _, arg: _ }) => {}
        RequestKind::Mmap(Mapping { fd: _, address: _, length: _, offset: _, prot: _, flags: _ }) => {}
        RequestKind::Arena(_) => {}
        RequestKind::RemoteStart { handle: _ } | RequestKind::RemoteStop { arena: _, sequence: _ } => {}
        RequestKind::RemoteDone { stored: _, lost: _ } | RequestKind::RemoteUnbuffered => {}
        RequestKind::Closing { first: _, last: _ } | RequestKind::Closed => {}
        RequestKind::CommonHandle | RequestKind::Cloning { thread: _ } => {}
    }
    match forwarded {
        ForwardedCall::OpenDevice { device: _, flags: _ } | ForwardedCall::Reopen { file: _, flags: _ } => {}
        ForwardedCall::Ioctl { ioctl: _, remote: _, blank: None } => {}
        ForwardedCall::Ioctl { ioctl: _, remote: _, blank: Some(Blank { file: _, mark: _, flags: _ }) } => {}
        ForwardedCall::Mmap { mapping: _, blank: _ } => {}
    }
    match order {
        Order::Open { id: _, tid: _, device: _, flags: _, file: _ } | Order::Closed(_) => {}
        Order::Call { id: _, tid: _, arch: _, number: _, args: _ } => {}
    }
    match response {
        Response::Value(_) | Response::Fail(_) | Response::Continue => {}
    }
    match reader {
        ReaderKind::Memory { address: _, length: _ } => {}
        ReaderKind::Write { address: _, bytes: _ } => {}
        ReaderKind::Open { flags: _, dirfd: _, address: _, resolve: _ } => {}
        ReaderKind::Openat2 { dirfd: _, address: _, how: _, size: _ } => {}
        ReaderKind::Ioctl(_) | ReaderKind::Mmap(_) | ReaderKind::OldMmap { address: _ } => {}
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
