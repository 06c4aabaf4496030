//! Requests and answers on the sockets between the processes.
//!
//! Every socket is `SOCK_SEQPACKET`: one message a datagram, at most [`MAX_BYTES`] long, encoded with bincode;
//! file descriptors ride beside the bytes as `SCM_RIGHTS`. Each side that decodes treats the result as an
//! allegation of the sender. The bytes of a caller's memory are copied as a whole (`serde_bytes`): as a sequence, which
//! looks the same on the socket, each would be a message of its own to serde.
//!
//! | socket | asks | answers |
//! |---|---|---|
//! | worker - broker | [`Assist`] | [`AssistReply`] |
//! | worker - reader | [`ReaderRequest`] | [`ReaderReply`] |
//! | broker - worker, orders | [`Order`] | of an open: [`AssistKind::Opened`], on the other socket |
//! | broker - zygote | [`ZygoteRequest`] | [`ZygoteReply`] |
//!
//! The sockets to the spawner are private to the broker crate.

use crate::abi::{self, CMP_WORDS, RemoteArg};
use crate::claims::Claims;
use crate::device::ArenaId;
use crate::errno::Errno;
use serde::{Serialize, de::DeserializeOwned};

/// Most bytes of one message. The largest is a memory answer of [`MAX_READ`] bytes.
pub const MAX_BYTES: usize = 68 * 1024;
/// Most bytes of the caller's memory that one request reads.
pub const MAX_READ: usize = 64 * 1024;
/// Most bytes of the caller's memory that one request writes.
pub const MAX_WRITE: usize = 64 * 1024;
/// Most bytes of a text that is for the log or for a message.
pub const MAX_TEXT: usize = 1024;
/// Most modules that one message tells of.
pub const MAX_MODULES: usize = 128;
/// Most files of handlers' devices that one order tells a worker to let go of.
pub const MAX_CLOSED: usize = 256;
/// Most bytes of a path, its terminating NUL included (`PATH_MAX`).
pub const MAX_PATH: usize = 4096;
/// Most arenas that one answer tells a worker to unmap.
pub const MAX_DROPS: usize = 64;

/// Id of a notification, unique on its listener only (`seccomp_notif.id`).
pub type NotificationId = u64;

/// Identity of an open file: device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FileId {
    /// `st_dev`, as `statx` major and minor give it: `major << 32 | minor`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// What a worker asks of the broker, for the notification that it has in flight.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Assist {
    /// The notification that it is for.
    pub id: NotificationId,
    /// Caller, as `seccomp_notif.pid` says: a thread id.
    pub tid: u32,
    /// What is asked.
    pub what: AssistKind,
}

/// The record that an `ENABLE` leaves behind, as the kernel's own tail does: of a real site of the worker program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// Where PCs are collected.
    pub pc: u64,
    /// Where comparisons are: a whole record.
    pub cmp: [u64; CMP_WORDS as usize],
}

/// The kinds of [`Assist`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum AssistKind {
    /// The worker is up and about to serve.
    Ready {
        /// What the broker leaves in an area when it is enabled.
        heartbeat: Heartbeat,
    },
    /// Open the KCOV device and give the caller its descriptor.
    Open {
        /// Open flags of the caller.
        flags: u32,
        /// Set when the path led to a file that may be an arena (a re-open through procfs) and not the device.
        reopened: Option<FileId>,
        /// Set when the path led to a handler's device and not to the KCOV device: its number in [`Claims::devices`].
        device: Option<u16>,
    },
    /// The answer to [`Order::Open`]: the handler of the device opened it, or why it did not.
    Opened {
        /// What it said.
        result: Result<(), Errno>,
    },
    /// Which file of a handler's device a descriptor of the caller is.
    File {
        /// Descriptor number in the caller.
        fd: i32,
    },
    /// Give the caller the descriptor that rides beside, and its number as the value of the call.
    Inject {
        /// Whether the caller's is closed by an `execve`.
        close_on_exec: bool,
    },
    /// For the log: a handler lets calls go on to the kernel, for a reason that it has not given before.
    Reason {
        /// The handler's name.
        handler: String,
        /// The reason, at most [`MAX_TEXT`] bytes.
        reason: String,
    },
    /// For the log: a handler had a call whose caller collects PCs, and recorded nothing.
    Silence {
        /// The handler's name.
        handler: String,
    },
    /// For the log: two explicit ids of the handlers' have one PC.
    Collision {
        /// They.
        ids: [u64; 2],
        /// The PC.
        pc: u64,
    },
    /// `ioctl` with a KCOV request.
    Ioctl {
        /// Descriptor number in the caller.
        fd: i32,
        /// Low 32 bits of the request.
        request: u32,
        /// The whole argument register.
        arg: u64,
        /// For `REMOTE_ENABLE`: the structure, or the errno of reading it.
        remote: Option<Result<RemoteArg, Errno>>,
    },
    /// `mmap` of a descriptor.
    Mmap {
        /// Descriptor number in the caller.
        fd: i32,
        /// Address as asked for.
        address: u64,
        /// Length as asked for, bytes.
        length: u64,
        /// Offset, bytes.
        offset: u64,
        /// `PROT_*`.
        prot: u32,
        /// `MAP_*`.
        flags: u32,
    },
    /// The caller is about to `execve`.
    Exec,
    /// The roster marks the caller's thread group as one that may have exec'ed: settle who is who.
    Settle,
    /// Map this arena, which the roster names.
    Arena(ArenaId),
    /// The reader is gone: a socket to its successor rides beside the reply.
    Reader,
}

impl AssistKind {
    /// Whether the broker replies to the worker. To the others it answers the notification itself, and the worker is
    /// free for the next one at once.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        match self {
            AssistKind::Open { .. } | AssistKind::Mmap { .. } | AssistKind::Exec => false,
            AssistKind::Opened { .. } | AssistKind::Inject { .. } => false,
            AssistKind::Reason { .. } | AssistKind::Silence { .. } | AssistKind::Collision { .. } => false,
            AssistKind::File { .. } => true,
            // It races with the records of another thread's call, as the kernel's does: a worker stores the count.
            AssistKind::Ioctl { request, .. } => *request == abi::RESET_TRACE,
            AssistKind::Ready { .. } | AssistKind::Settle | AssistKind::Arena(_) | AssistKind::Reader => true,
        }
    }
}

/// What the broker answers to an [`Assist`] that wants a reply.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AssistReply {
    /// Repeats the request's.
    pub id: NotificationId,
    /// What the worker does with its notification.
    pub verdict: Verdict,
    /// Present when a descriptor of an arena rides along: map it.
    pub arena: Option<(ArenaId, u64)>,
    /// To [`AssistKind::File`]: the file and the number of its device, if it is one of a handler's.
    pub file: Option<(ArenaId, u16)>,
    /// `RESET_TRACE` was granted: set this arena's count to 0.
    pub reset: Option<ArenaId>,
    /// Arenas that are gone: unmap them.
    pub drops: Vec<ArenaId>,
}

/// What the broker has a worker do beside its tenant's notifications. There is no reply on the same socket.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Order {
    /// A caller opens a handler's device: ask the handler, and say what it said by [`AssistKind::Opened`].
    Open {
        /// The notification of the open.
        id: NotificationId,
        /// Caller, a thread id.
        tid: u32,
        /// Number of the device in [`Claims::devices`].
        device: u16,
        /// Open flags of the caller.
        flags: u32,
        /// Identity of the new file, numbered as arenas are.
        file: ArenaId,
    },
    /// Nobody has these files any more (at most [`MAX_CLOSED`]): let go of their state.
    Closed(Vec<ArenaId>),
    /// Handle and answer this call as a notification: the broker took it while there was no worker; or a worker died with
    /// it in flight, and its handlers may have it once more. What the call is, is the dead worker's word then.
    Call {
        /// The notification.
        id: NotificationId,
        /// Caller, a thread id.
        tid: u32,
        /// `AUDIT_ARCH_*`.
        arch: u32,
        /// System call number.
        number: i32,
        /// Argument registers.
        args: [u64; 6],
    },
}

/// What becomes of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// Answer with this value.
    Value(i64),
    /// Answer with this error.
    Fail(Errno),
    /// Not the broker's business: let the kernel run the call.
    Continue,
}

/// What a worker asks of its tenant's reader.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ReaderRequest {
    /// The notification that it is for.
    pub id: NotificationId,
    /// Caller, a thread id.
    pub tid: u32,
    /// What is asked.
    pub what: ReaderKind,
}

/// The kinds of [`ReaderRequest`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ReaderKind {
    /// Read `length` bytes (at most [`MAX_READ`]) at `address`, all or nothing.
    Memory {
        /// Address in the caller.
        address: u64,
        /// Bytes.
        length: u32,
    },
    /// Write `bytes` (at most [`MAX_WRITE`]) at `address`, all or nothing as far as the memory is mapped and writable.
    Write {
        /// Address in the caller.
        address: u64,
        /// What to write.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Read the path at `address`, and see that the notification is answered: by the broker if it leads to the
    /// device, else by the kernel. There is no reply.
    Open {
        /// Open flags of the caller.
        flags: i32,
        /// Descriptor that a relative path starts at, or `AT_FDCWD`.
        dirfd: i32,
        /// Address of the NUL-terminated path in the caller.
        address: u64,
        /// `RESOLVE_*` of `openat2`, 0 for the other calls.
        resolve: u64,
    },
    /// As [`Open`](Self::Open), with the flags and resolve bits in `struct open_how` at `how`.
    Openat2 {
        /// Descriptor that a relative path starts at, or `AT_FDCWD`.
        dirfd: i32,
        /// Address of the NUL-terminated path in the caller.
        address: u64,
        /// Address of the structure in the caller.
        how: u64,
        /// Bytes that the caller says it has.
        size: u64,
    },
    /// Read `struct kcov_remote_arg` at `address` in the kernel's order (`num_handles`, its bound, then the whole) and
    /// pass the `REMOTE_ENABLE` on to the broker, which answers it. There is no reply.
    RemoteEnable {
        /// Descriptor number in the caller.
        fd: i32,
        /// Address in the caller.
        address: u64,
    },
    /// Read the six words of i386's `mmap` at `address` and pass the call on to the broker, which answers it. There is
    /// no reply.
    OldMmap {
        /// Address in the caller.
        address: u64,
    },
}

impl ReaderKind {
    /// Whether the reader replies to the worker. The other calls it passes on, or lets go on itself, and the worker is
    /// free for the next one at once.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        matches!(self, ReaderKind::Memory { .. } | ReaderKind::Write { .. })
    }
}

/// What a reader answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ReaderReply {
    /// The bytes asked for.
    Memory(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The bytes were written.
    Written,
    /// The call cannot have what it asks for: unreadable memory (`EFAULT`), no such file, ...
    Fail(Errno),
    /// The notification is no longer valid: the caller is gone.
    Gone,
}

/// What the broker asks of a zygote.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ZygoteRequest {
    /// Fork a worker. Descriptors, in this order: listener, broker socket, orders socket, reader socket, slot, roster,
    /// journal, what standard output and error become.
    Fork {
        /// Index of the worker among its tenant's.
        index: u32,
    },
}

/// A program or library in the memory of a zygote and of its workers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LoadedModule {
    /// Its file.
    pub path: String,
    /// First address of its executable code.
    pub start: u64,
    /// End of it.
    pub end: u64,
    /// What is to be subtracted from an address to get that of the file.
    pub bias: u64,
    /// Where its instrumented code has its PCs.
    pub pcs: ModulePcs,
}

/// Where the instrumented code of a module has its PCs, see [`region`](crate::region).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ModulePcs {
    /// It is not instrumented.
    #[default]
    None,
    /// From this PC on, as follows from the module alone.
    Home(u64),
    /// From this PC on, as another module has its place.
    Moved(u64),
    /// There is no room for it: its points are not recorded.
    NoRoom,
}

/// What a zygote answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ZygoteReply {
    /// About to load this handler: if nothing follows, it is the one to blame.
    Loading {
        /// Its name or file, at most [`MAX_TEXT`] bytes.
        handler: String,
    },
    /// A handler cannot be loaded: why, for the operator.
    Refused {
        /// The message, at most [`MAX_TEXT`] bytes.
        message: String,
    },
    /// It cannot be jailed: why, for the operator.
    Unjailed {
        /// The message, at most [`MAX_TEXT`] bytes.
        message: String,
    },
    /// What is loaded, for whoever has to make sense of an address; at most [`MAX_MODULES`].
    Loaded {
        /// The program and its libraries.
        modules: Vec<LoadedModule>,
    },
    /// Loaded and jailed; `Fork` may come.
    Ready {
        /// What the handlers want.
        claims: Claims,
    },
    /// The worker's process id, a claim.
    Forked {
        /// Process id.
        pid: u32,
    },
    /// A worker ended; the zygote was its parent.
    Exited {
        /// Process id.
        pid: u32,
        /// Signal that ended it, or 0.
        signal: i32,
        /// Exit status, if no signal did.
        status: i32,
    },
    /// The fork failed.
    Failed(Errno),
}

/// Why bytes are no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// More than [`MAX_BYTES`].
    #[error("message of {bytes} bytes is over the bound of {MAX_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Does not decode.
    #[error("message does not decode: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// Does not encode into the bound.
    #[error("message does not encode: {0}")]
    Encode(#[from] bincode::error::EncodeError),
    /// Decodes, with bytes left over.
    #[error("message has {0} bytes left over")]
    Trailing(usize),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_BYTES>()
}

/// Encodes `message` into `buffer`, whose contents are replaced.
///
/// # Errors
/// [`MessageError::Encode`] if it is over [`MAX_BYTES`].
pub fn encode<T: Serialize>(message: &T, buffer: &mut Vec<u8>) -> Result<(), MessageError> {
    buffer.clear();
    let bytes = bincode::serde::encode_into_std_write(message, buffer, config())?;
    if bytes > MAX_BYTES { Err(MessageError::TooLong { bytes }) } else { Ok(()) }
}

/// Decodes a whole message.
///
/// # Errors
/// If the bytes are too many, no message, or a message with something behind it.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, MessageError> {
    if bytes.len() > MAX_BYTES {
        return Err(MessageError::TooLong { bytes: bytes.len() });
    }
    let (message, used) = bincode::serde::decode_from_slice(bytes, config())?;
    match bytes.len() - used {
        0 => Ok(message),
        left => Err(MessageError::Trailing(left)),
    }
}
