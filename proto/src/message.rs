//! Requests and answers on the sockets between the processes.
//!
//! Every socket is `SOCK_SEQPACKET`: a message is one datagram of at most [`MAX_BYTES`], encoded with bincode. File
//! descriptors come beside the bytes as `SCM_RIGHTS`. The receiver treats a decoded message as an allegation of the sender.
//! The bytes of a caller's memory are copied as a whole (`serde_bytes`), because serde would encode a sequence byte by byte.
//!
//! | socket | asks | answers |
//! |---|---|---|
//! | worker - broker | [`Request`] | [`Reply`] |
//! | worker - reader | [`ReaderRequest`] | [`ReaderReply`] |
//! | reader - broker | [`Forward`] | |
//! | broker - worker, orders | [`Order`] | to an open: [`RequestKind::Opened`], on the other socket |
//! | broker - zygote | [`ZygoteRequest`] | [`ZygoteReply`] |
//!
//! The sockets to the spawner are private to the broker crate.

use crate::abi::{self, CMP_WORDS, RemoteArg};
use crate::claims::Claims;
use crate::device::{ArenaId, RemoteTarget};
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
/// Most modules in one message.
pub const MAX_MODULES: usize = 128;
/// Most files of handlers' devices that one order releases.
pub const MAX_CLOSED: usize = 256;
/// Most bytes of a path, its terminating NUL included (`PATH_MAX`).
pub const MAX_PATH: usize = 4096;
/// Most arenas that one reply tells a worker to unmap.
pub const MAX_DROPS: usize = 64;

/// Id of a notification, unique on its listener (`seccomp_notif.id`).
pub type NotificationId = u64;

/// Identity of an open file: device and inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct FileId {
    /// `st_dev`, as `statx` major and minor give it: `major << 32 | minor`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

/// A request of a worker to the broker, for a notification.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Request {
    /// The notification that it is for; 0 for [`RequestKind::Ready`].
    pub id: NotificationId,
    /// Caller, as `seccomp_notif.pid` says: a thread id.
    pub tid: u32,
    /// What is requested.
    pub what: RequestKind,
}

/// The record that an `ENABLE` leaves in the area, as the end of the kernel's own `ioctl` does: of a real site of the worker
/// program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Heartbeat {
    /// Where PCs are collected.
    pub pc: u64,
    /// Where comparisons are collected: a whole record.
    pub cmp: [u64; CMP_WORDS as usize],
}

/// The arguments of an `mmap` with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mapping {
    /// Descriptor number in the caller.
    pub fd: i32,
    /// Address as requested.
    pub address: u64,
    /// Length as requested, bytes.
    pub length: u64,
    /// Offset, bytes.
    pub offset: u64,
    /// `PROT_*`.
    pub prot: u32,
    /// `MAP_*`.
    pub flags: u32,
}

/// An `ioctl` with a KCOV request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KcovIoctl {
    /// Descriptor number in the caller.
    pub fd: i32,
    /// Low 32 bits of the request.
    pub request: u32,
    /// The whole argument register.
    pub arg: u64,
}

/// The kinds of [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RequestKind {
    /// The worker is about to serve.
    Ready {
        /// What the broker leaves in an area when it is enabled.
        heartbeat: Heartbeat,
    },
    /// `ioctl` with a KCOV request whose argument is a number.
    Ioctl(KcovIoctl),
    /// `mmap` with a descriptor.
    Mmap(Mapping),
    /// The caller is about to `execve`.
    Exec,
    /// The roster marks the caller's thread group as one that may have exec'ed: settle which thread is which.
    Settle,
    /// Map this arena, which the roster names.
    Arena(ArenaId),
    /// The reader is gone: a socket to the next one comes beside the reply.
    Reader,
    /// The answer to [`Order::Open`]: whether the handler opened its device.
    Opened {
        /// The handler's answer.
        result: Result<(), Errno>,
    },
    /// Which file of a handler's device a descriptor of the caller is.
    File {
        /// Descriptor number in the caller.
        fd: i32,
    },
    /// Give the caller the descriptor that comes beside, and its number as the value of the call.
    Inject {
        /// Whether an `execve` closes the caller's descriptor.
        close_on_exec: bool,
    },
    /// For the log: a handler lets calls continue in the kernel, for a reason that it has not given before.
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
    /// For the log: two explicit ids of handlers have the same PC.
    Collision {
        /// The ids.
        ids: [u64; 2],
        /// The PC.
        pc: u64,
    },
    /// A handler starts a remote section: what this handle refers to.
    RemoteStart {
        /// The handle. Any value is possible.
        handle: u64,
    },
    /// A handler stops a remote section that has records: may they be appended? If so, the broker serves nothing else until
    /// [`RemoteDone`](Self::RemoteDone), so that no `DISABLE` comes between.
    RemoteStop {
        /// The instance.
        arena: ArenaId,
        /// Its sequence when the section was started.
        sequence: u64,
    },
    /// The records of a remote section were appended, as the broker has granted.
    RemoteDone {
        /// Records appended.
        stored: u64,
        /// Records for which the area had no room.
        lost: u64,
    },
    /// There is no memory for the buffer of a remote section that was started: it records nothing.
    RemoteUnbuffered,
    /// The caller is about to close descriptors: whether one of them is of a handler's device. If so, the worker asks which
    /// files are released before it handles the next call of this thread.
    Closing {
        /// The first descriptor.
        first: u32,
        /// The last descriptor.
        last: u32,
    },
    /// Which files the last close of the caller has released.
    Closed,
    /// The common handle of the caller.
    CommonHandle,
    /// The caller is about to create a thread or a process, which inherits its common handle.
    Cloning {
        /// Whether it is a thread; `None` if that is in memory.
        thread: Option<bool>,
    },
}

impl RequestKind {
    /// Whether the broker replies to the worker. For the others it answers the notification itself, and the worker is free
    /// for the next one at once.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        match self {
            RequestKind::Mmap(_) | RequestKind::Exec => false,
            RequestKind::Opened { .. } | RequestKind::Inject { .. } => false,
            RequestKind::Reason { .. } | RequestKind::Silence { .. } | RequestKind::Collision { .. } => false,
            // It races with the records of another thread's call, as the kernel's does: a worker stores the count.
            RequestKind::Ioctl(ioctl) => ioctl.request == abi::RESET_TRACE,
            RequestKind::RemoteDone { .. } | RequestKind::RemoteUnbuffered | RequestKind::Cloning { .. } => {
                false
            }
            RequestKind::RemoteStart { .. } | RequestKind::RemoteStop { .. } => true,
            RequestKind::Closing { .. } | RequestKind::Closed => true,
            RequestKind::CommonHandle | RequestKind::File { .. } => true,
            RequestKind::Ready { .. } | RequestKind::Settle | RequestKind::Arena(_) | RequestKind::Reader => {
                true
            }
        }
    }
}

/// An order to a worker: set the words of the bitmap and the count behind it to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ResetTrace {
    /// The arena.
    pub arena: ArenaId,
    /// Size in words of the bitmap at the start of the area; 0 if there is none.
    pub bitmap: u64,
}

/// The broker's reply to a [`Request`] that wants one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Reply {
    /// The request's id.
    pub id: NotificationId,
    /// How the worker answers its notification; `None` if the broker sees to that.
    pub response: Option<Response>,
    /// An arena to map, with its words. Its descriptor comes beside.
    pub arena: Option<(ArenaId, u64)>,
    /// To [`RequestKind::File`]: the file and the number of its device, if it is one of a handler's.
    pub file: Option<(ArenaId, u16)>,
    /// `RESET_TRACE` is granted.
    pub reset: Option<ResetTrace>,
    /// To a request about remote sections.
    pub remote: Option<RemoteReply>,
    /// To [`RequestKind::Closed`]: release the state of these files (at most [`MAX_CLOSED`]).
    pub closed: Vec<ClosedFile>,
    /// Arenas that are gone: unmap them.
    pub drops: Vec<ArenaId>,
}

/// A file of a handler's device that no process has open any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClosedFile {
    /// The file.
    pub file: ArenaId,
    /// The thread that closed it, if that is known.
    pub closer: Option<Closer>,
}

/// The thread that closed the last descriptor of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Closer {
    /// The thread.
    pub tid: u32,
    /// Where its calls are recorded, if they are.
    pub target: Option<RemoteTarget>,
}

/// The broker's reply to a request about remote sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum RemoteReply {
    /// What the handle refers to; `None` if it is not in use.
    Target(Option<RemoteTarget>),
    /// Whether the records may be appended, and must be now.
    Append(bool),
    /// The common handle, 0 if there is none.
    Common(u64),
}

/// A call that a reader passes on to the broker, with what it has read of the caller for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Forward {
    /// The notification.
    pub id: NotificationId,
    /// Caller, a thread id.
    pub tid: u32,
    /// The call.
    pub call: ForwardedCall,
}

/// The kinds of [`Forward`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ForwardedCall {
    /// An open of a handler's device.
    OpenDevice {
        /// Number of the device in [`Claims::devices`].
        device: u16,
        /// Open flags of the caller.
        flags: u32,
    },
    /// An open whose path led to a memfd: a file of a handler's device that is opened again through procfs, or another one.
    Reopen {
        /// The file.
        file: FileId,
        /// Open flags of the caller.
        flags: u32,
    },
    /// `ioctl` with a KCOV request.
    Ioctl {
        /// The request.
        ioctl: KcovIoctl,
        /// For `REMOTE_ENABLE`: the structure, or the errno of reading it.
        remote: Option<Result<RemoteArg, Errno>>,
        /// The descriptor, if it is one of a blank file.
        blank: Option<Blank>,
    },
    /// `mmap` with a descriptor.
    Mmap {
        /// The arguments.
        mapping: Mapping,
        /// The descriptor, if it is one of a blank file.
        blank: Option<Blank>,
    },
}

/// A descriptor of a *blank*: a file that an open of the device leads to and that is not an instance yet. That is the
/// placeholder, or an arena that was opened again through procfs.
///
/// All descriptors of one open are one instance, once one of them is initialised. They share an open file description, and
/// so its locks: a reader marks the description with an OFD lock on one byte, whose position tells opens apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Blank {
    /// The file.
    pub file: FileId,
    /// Position of the lock, if the open is marked.
    pub mark: Option<u64>,
    /// Flags of the descriptor, as `/proc/PID/fdinfo` shows them: access mode, status flags, `O_CLOEXEC`.
    pub flags: i32,
}

/// What the broker has a worker do beside its tenant's notifications. There is no reply on the same socket.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Order {
    /// A caller opens a handler's device: ask the handler, and report its answer by [`RequestKind::Opened`].
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
    /// No process has these files open any more (at most [`MAX_CLOSED`]): release their state.
    Closed(Vec<ClosedFile>),
    /// Handle and answer this call as a notification. Either the broker received it while there was no worker, or a worker
    /// died with it in flight and its handlers may see it once more. In the second case the dead worker alleged what the
    /// call is.
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

/// How a notification is answered: what `struct seccomp_notif_resp` can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Response {
    /// The call returns this value.
    Value(i64),
    /// The call fails with this error.
    Fail(Errno),
    /// The kernel runs the call.
    Continue,
}

/// A request to a tenant's reader: of the worker, or of the broker in its place.
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
    /// Read the path at `address` and answer the call, or pass it on: to the broker if the path leads to a handler's device,
    /// else to the kernel. There is no reply.
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
        /// Size of the structure, as the caller gives it, bytes.
        size: u64,
    },
    /// Pass a KCOV request on to the broker, which answers it. For `REMOTE_ENABLE` read `struct kcov_remote_arg` first, in
    /// the kernel's order: `num_handles`, its bound, then the whole. Look whether the descriptor is of a blank file, and
    /// mark its open for `INIT_TRACE`. There is no reply.
    Ioctl(KcovIoctl),
    /// Pass an `mmap` on to the broker, which answers it. Look whether the descriptor is of a blank file. There is no reply.
    Mmap(Mapping),
    /// As [`Mmap`](Self::Mmap), with the six words of i386's `mmap` at `address`.
    OldMmap {
        /// Address in the caller.
        address: u64,
    },
}

impl ReaderKind {
    /// Whether the call may be about any file: then the kernel runs it if no reader can look. The others are ours.
    #[must_use]
    pub fn concerns_any_file(&self) -> bool {
        match self {
            ReaderKind::Open { .. } | ReaderKind::Openat2 { .. } => true,
            ReaderKind::Mmap(_) | ReaderKind::OldMmap { .. } => true,
            ReaderKind::Memory { .. } | ReaderKind::Write { .. } | ReaderKind::Ioctl(_) => false,
        }
    }

    /// Whether the reader replies to the worker. It passes the other calls on, or lets the kernel run them, and the worker
    /// is free for the next one at once.
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
    /// The call fails: unreadable memory (`EFAULT`), ...
    Fail(Errno),
    /// The notification is no longer valid: the caller is gone.
    Gone,
}

/// A request of the broker to a zygote.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ZygoteRequest {
    /// Fork a worker. Descriptors, in this order: listener, broker socket, orders socket, reader socket, slot, roster,
    /// journal, standard output and error.
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
    /// Subtracted from an address, this gives the address in the file.
    pub bias: u64,
    /// The PCs of its instrumented code.
    pub pcs: ModulePcs,
}

/// The PCs of the instrumented code of a module, see [`region`](crate::region).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ModulePcs {
    /// It is not instrumented.
    #[default]
    None,
    /// From this PC on, which follows from the module itself.
    Home(u64),
    /// From this PC on, because another module has its own range.
    Moved(u64),
    /// No range is left: its points are not recorded.
    NoRoom,
}

impl ModulePcs {
    /// First PC of the module, if it has PCs.
    #[must_use]
    pub fn base(self) -> Option<u64> {
        match self {
            ModulePcs::Home(base) | ModulePcs::Moved(base) => Some(base),
            ModulePcs::None | ModulePcs::NoRoom => None,
        }
    }
}

/// What a zygote answers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ZygoteReply {
    /// About to load this handler. If nothing follows, the handler is at fault.
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
    /// What is loaded, at most [`MAX_MODULES`]: addresses are symbolized with it.
    Loaded {
        /// The program and its libraries.
        modules: Vec<LoadedModule>,
    },
    /// Loaded and jailed; `Fork` may come.
    Ready {
        /// What the handlers claim.
        claims: Claims,
    },
    /// A worker was forked.
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

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// More than [`MAX_BYTES`].
    #[error("message of {bytes} bytes is over the bound of {MAX_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bytes do not decode.
    #[error("message does not decode: {0}")]
    Decode(#[from] bincode::error::DecodeError),
    /// The message does not encode, or is over the bound.
    #[error("message does not encode: {0}")]
    Encode(#[from] bincode::error::EncodeError),
    /// A message decodes, and bytes are left over.
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
/// If there are too many bytes, or the bytes are not exactly one message.
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
