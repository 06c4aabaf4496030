//! The reader process: accesses the memory and resolves the paths of one tenant, for that tenant's workers.
//!
//! Accessing a tenant's memory or file systems may block for ever: a page may be on a userfaultfd, a directory in the
//! tenant's own FUSE mount. A reader that misses its deadline is killed and replaced by the broker. A reader holds its
//! sockets, the tenant's listener, procfs, and the privilege to inspect the tenant. It modifies only memory that a
//! handler writes for the caller.
//!
//! Requests come from a worker that may be compromised. Two checks limit what it can access:
//! - The thread in the request must descend from the tenant's first process (`members`). After the work, the reader
//!   checks that the tid still names the same task.
//! - The notification in the request must be pending on the tenant's listener, before and after the work. So the caller
//!   was blocked in its call all the time, and the data is what the call itself would have read.
//!
//! All readers of a tenant share one limit on the rate of handlers' reads and writes ([`Allowance`]).

mod access;
pub mod allowance;
mod blank;
mod caller_memory;
mod members;
mod open_how;
mod path;
mod procfs;
mod task;
#[cfg(test)]
mod tests;
mod walk;

use crate::processes::reader::allowance::Allowance;
use crate::sys::fork;
use crate::sys::listener;
use crate::sys::shared::SharedWords;
use blank::{BlankFiles, PendingCall};
use kcov_proto::abi::{self, REMOTE_ARG_BYTES, REMOTE_MAX_HANDLES, REMOTE_NUM_HANDLES_OFFSET, RemoteArg};
use kcov_proto::message::{
    self, FileId, Forward, ForwardedCall, KcovIoctl, MAX_BYTES, MAX_PATH, MAX_READ, MAX_WRITE, Mapping,
    ReaderKind, ReaderReply, ReaderRequest, Response,
};
use kcov_proto::sync::Ordering;
use members::Members;
pub use members::TenantRoot;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use path::Lookup;
use procfs::Procfs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Number of attempts to serve a request whose tid was reused in the meantime.
const ATTEMPTS: usize = 2;

/// Serves requests until the peer closes its socket or breaks the protocol, then exits.
///
/// The exit status is 0 if the peer closed its socket, 1 if the tenant is gone or a system call failed, 2 if the peer
/// sent a malformed request.
pub fn serve(sockets: Sockets, tenant: TenantRoot, device: DeviceFiles) -> ! {
    let status = match Reader::new(tenant, device) {
        Ok(mut reader) => reader.run(&sockets),
        Err(_) => Stop::Broken,
    };
    fork::exit_now(status as i32)
}

/// Why a reader stops; the discriminant is its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Closed = 0,
    Broken = 1,
    PeerAtFault = 2,
}

/// Word of the page shared with the broker: id of the notification in progress, or 0.
pub const BUSY: usize = 0;
/// Word of that page: number of requests served.
pub const SERVED: usize = 1;
/// Word of that page: 1 if the kernel is to run the call in progress should this process fail.
pub const RUNS: usize = 2;

/// The descriptors and shared pages of a reader.
#[derive(Debug)]
pub struct Sockets {
    /// The reader's end of a `SOCK_SEQPACKET` pair, for requests from the worker.
    pub requests: OwnedFd,
    /// The reader's end of a `SOCK_SEQPACKET` pair, for calls that it forwards to the broker.
    pub broker: OwnedFd,
    /// The tenant's listener.
    pub listener: OwnedFd,
    /// Page shared with the broker: [`BUSY`], [`SERVED`] and [`RUNS`].
    pub busy: SharedWords,
    /// Rate limits, shared with the broker and the tenant's other readers.
    pub allowance: Allowance,
}

/// The files that represent the KCOV device and the handlers' devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFiles {
    /// The device itself, wherever it is mounted.
    pub placeholder: Option<FileId>,
    /// Devices of handlers, by their number.
    pub devices: Vec<FileId>,
    /// `st_dev` of memfds. A file with it may be an arena that is reopened through procfs.
    pub memfd_device: u64,
}

/// The state of the process.
struct Reader {
    procfs: Procfs,
    members: Members,
    device: DeviceFiles,
    text: Box<[u8; MAX_PATH]>,
    /// Buffer for a request.
    request: Box<[u8]>,
    bytes: Vec<u8>,
}

impl Reader {
    fn new(tenant: TenantRoot, device: DeviceFiles) -> Result<Self, Errno> {
        let procfs = Procfs::open()?;
        let members = Members::of(&procfs, tenant)?;
        let request = vec![0; MAX_BYTES].into_boxed_slice();
        Ok(Reader { procfs, members, device, text: Box::new([0; MAX_PATH]), request, bytes: Vec::new() })
    }

    fn run(&mut self, sockets: &Sockets) -> Stop {
        loop {
            let request = match peek(sockets.requests.as_fd(), &mut self.request) {
                Ok(request) => request,
                Err(end) => return end,
            };
            // Publish the id before removing the request from the socket: if this process dies at any time, the broker
            // finds the request in one of the two places.
            sockets.busy[RUNS].store(request.what.concerns_any_file().into(), Ordering::Relaxed);
            sockets.busy[BUSY].store(request.id, Ordering::Release);
            if let Err(end) = take(sockets.requests.as_fd()) {
                return end;
            }
            let served = if request.what.wants_reply() {
                self.reply(&request, sockets)
            } else {
                self.forward(&request, sockets)
            };
            sockets.busy[BUSY].store(0, Ordering::Release);
            let served_before = sockets.busy[SERVED].load(Ordering::Relaxed);
            sockets.busy[SERVED].store(served_before.wrapping_add(1), Ordering::Relaxed);
            if let Err(end) = served {
                return end;
            }
        }
    }

    fn reply(&mut self, request: &ReaderRequest, sockets: &Sockets) -> Result<(), Stop> {
        let is_valid = || listener::id_valid(sockets.listener.as_fd(), request.id).map_err(|_| Stop::Broken);
        // Checked before: a write cannot be undone, and a request that made one reader miss its deadline must not block
        // the next one. Checked after: only then was the caller blocked in its call all the time.
        let reply = if !is_valid()? {
            ReaderReply::Gone
        } else if sockets.allowance.admit(&request.what) {
            self.answer(request)
        } else {
            ReaderReply::Fail(kcov_proto::Errno::ENOMEM)
        };
        let reply = if is_valid()? { reply } else { ReaderReply::Gone };
        message::encode(&reply, &mut self.bytes).map_err(|_| Stop::Broken)?;
        transmit(sockets.requests.as_fd(), &self.bytes)
    }

    /// Forwards a call that concerns a device to the broker; lets the kernel execute any other call.
    fn forward(&mut self, request: &ReaderRequest, sockets: &Sockets) -> Result<(), Stop> {
        let tid = request.tid;
        let pending = PendingCall { listener: sockets.listener.as_fd(), id: request.id };
        let call = match self.work_for(tid, |reader| Ok(reader.translate(&pending, tid, &request.what))) {
            Ok(Some(call)) => call,
            Err(Errno::ESRCH) => return Ok(()),
            // Another file, no file, an unreadable path: the kernel executes the call or gives the right error.
            Ok(None) | Err(_) => {
                let sent = listener::send(sockets.listener.as_fd(), request.id, Response::Continue);
                return sent.map(drop).map_err(|_| Stop::Broken);
            }
        };
        let forward = Forward { id: request.id, tid, call };
        message::encode(&forward, &mut self.bytes).map_err(|_| Stop::Broken)?;
        transmit(sockets.broker.as_fd(), &self.bytes)
    }

    /// What the broker is to answer; `None` if the call does not concern a device.
    fn translate(&mut self, pending: &PendingCall<'_>, tid: u32, what: &ReaderKind) -> Option<ForwardedCall> {
        match *what {
            ReaderKind::Memory { .. } | ReaderKind::Write { .. } => None,
            ReaderKind::Open { flags, dirfd, address, resolve } => {
                self.open(tid, flags, dirfd, address, resolve)
            }
            ReaderKind::Openat2 { dirfd, address, how, size } => {
                let how = open_how::read(tid, how, size)?;
                self.open(tid, how.flags, dirfd, address, how.resolve)
            }
            ReaderKind::Ioctl(ioctl) => {
                let KcovIoctl { fd, request, arg } = ioctl;
                let remote = (request == abi::REMOTE_ENABLE)
                    .then(|| remote_arg(tid, arg).map_err(|errno| kcov_proto::Errno(errno as i32)));
                let initialise = (request == abi::INIT_TRACE).then_some(pending);
                Some(ForwardedCall::Ioctl { ioctl, remote, blank: self.blank(tid, fd, initialise) })
            }
            ReaderKind::Mmap(mapping) => {
                Some(ForwardedCall::Mmap { mapping, blank: self.blank(tid, mapping.fd, None) })
            }
            ReaderKind::OldMmap { address } => {
                let mapping = old_mapping(tid, address)?;
                let of_a_file = mapping.flags & libc::MAP_ANONYMOUS as u32 == 0 && mapping.fd >= 0;
                let blank = of_a_file.then(|| self.blank(tid, mapping.fd, None))?;
                Some(ForwardedCall::Mmap { mapping, blank })
            }
        }
    }

    fn blank(&self, tid: u32, fd: i32, initialise: Option<&PendingCall<'_>>) -> Option<message::Blank> {
        let DeviceFiles { placeholder, memfd_device, .. } = self.device;
        BlankFiles { placeholder, memfd_device }.look(&self.procfs, (tid, fd), initialise)
    }

    /// An open for a tenant whose handlers have devices.
    fn open(
        &mut self,
        tid: u32,
        flags: i32,
        dirfd: i32,
        address: u64,
        resolve: u64,
    ) -> Option<ForwardedCall> {
        if never_the_device(flags) {
            return None;
        }
        let file = self.find(tid, flags, dirfd, address, resolve).ok()?;
        let flags = flags.cast_unsigned();
        let device = self.device.devices.iter().position(|&device| device == file);
        match device.and_then(|device| u16::try_from(device).ok()) {
            Some(device) => Some(ForwardedCall::OpenDevice { device, flags }),
            None if file.device == self.device.memfd_device => Some(ForwardedCall::Reopen { file, flags }),
            None => None,
        }
    }

    /// Resolves a path of the caller to a file.
    fn find(
        &mut self,
        tid: u32,
        flags: i32,
        dirfd: i32,
        address: u64,
        resolve: u64,
    ) -> Result<FileId, Errno> {
        let path = caller_memory::read_string(tid, address, &mut self.text[..])?;
        let lookup = Lookup { dirfd, path, follow: flags & libc::O_NOFOLLOW == 0, resolve };
        resolve_for(&self.procfs, &self.device, tid, &lookup)
    }

    /// Executes one request. The caller of this function checks that the notification is pending.
    fn answer(&mut self, request: &ReaderRequest) -> ReaderReply {
        let tid = request.tid;
        let done = match &request.what {
            ReaderKind::Memory { address, length } => {
                self.work_for(tid, |_| memory(tid, *address, *length)).map(ReaderReply::Memory)
            }
            ReaderKind::Write { address, bytes } => {
                self.write(tid, *address, bytes).map(|()| ReaderReply::Written)
            }
            _ => Err(Errno::EINVAL),
        };
        match done {
            Ok(reply) => reply,
            Err(Errno::ESRCH) => ReaderReply::Gone,
            Err(errno) => ReaderReply::Fail(kcov_proto::Errno(errno as i32)),
        }
    }

    /// Writes to a thread's memory. A write cannot be undone, so the tid is checked immediately before as well as after.
    /// Between the checks the notification is pending, so the tid can only be reused if the thread is killed and all
    /// other pids are allocated in that moment.
    fn write(&mut self, tid: u32, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() > MAX_WRITE {
            return Err(Errno::EINVAL);
        }
        self.members.admit(&self.procfs, tid)?;
        if !self.members.confirm(&self.procfs, tid) {
            return Err(Errno::ESRCH);
        }
        caller_memory::write(tid, address, bytes)?;
        if self.members.confirm(&self.procfs, tid) { Ok(()) } else { Err(Errno::ESRCH) }
    }

    /// Does `work` for a thread of the tenant, and checks afterwards that the tid was not reused.
    fn work_for<T>(&mut self, tid: u32, work: impl Fn(&mut Self) -> Result<T, Errno>) -> Result<T, Errno> {
        for _ in 0..ATTEMPTS {
            self.members.admit(&self.procfs, tid)?;
            let done = work(self);
            if self.members.confirm(&self.procfs, tid) {
                return done;
            }
        }
        Err(Errno::ESRCH)
    }
}

/// Returns whether an open with these flags never opens the device: the kernel gives the right answer for the
/// placeholder. `O_TMPFILE` includes `O_DIRECTORY`, and is `EINVAL` without it.
fn never_the_device(flags: i32) -> bool {
    const EXCLUSIVE: i32 = libc::O_CREAT | libc::O_EXCL;
    flags & (libc::O_PATH | libc::O_TMPFILE) != 0 || flags & EXCLUSIVE == EXCLUSIVE
}

/// The arguments of i386's `mmap`: six 32-bit words.
fn old_mapping(tid: u32, address: u64) -> Option<Mapping> {
    let [first, second, third] = words(tid, address).ok()?;
    let (high, low) = (|word: u64| word >> 32, |word: u64| word & 0xffff_ffff);
    let (address, length) = (low(first), high(first));
    let (prot, flags) = (low(second) as u32, high(second) as u32);
    let (fd, offset) = (low(third) as u32 as i32, high(third));
    Some(Mapping { fd, address, length, offset, prot, flags })
}

/// Three words of the caller's memory.
fn words(tid: u32, address: u64) -> Result<[u64; 3], Errno> {
    let mut bytes = [0; 24];
    caller_memory::read(tid, address, &mut bytes)?;
    let word = |i: usize| std::array::from_fn(|byte| bytes[8 * i + byte]);
    Ok([0, 1, 2].map(|i| u64::from_ne_bytes(word(i))))
}

/// The file that an open leads to. A file of a handler's device that is opened again is a memfd of mode 0600: a caller that
/// may not open it gets `EACCES`. The kernel judges every other file itself when the call continues.
fn resolve_for(
    procfs: &Procfs,
    device: &DeviceFiles,
    tid: u32,
    lookup: &Lookup<'_>,
) -> Result<FileId, Errno> {
    let found = path::resolve(procfs, tid, lookup)?;
    let id = found.facts.id;
    if id.device == device.memfd_device && !access::may_open(procfs, tid, found.facts.uid)? {
        return Err(Errno::EACCES);
    }
    Ok(id)
}

fn memory(tid: u32, address: u64, length: u32) -> Result<Vec<u8>, Errno> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_READ {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; length];
    caller_memory::read(tid, address, &mut bytes)?;
    Ok(bytes)
}

/// Reads the argument of `KCOV_REMOTE_ENABLE`, in the order of `kcov_ioctl` (`kernel/kcov.c`, 6.12): the number of
/// handles, the check of its limit, then the whole argument.
fn remote_arg(tid: u32, address: u64) -> Result<RemoteArg, Errno> {
    let mut number = [0; 4];
    let at = address.checked_add(REMOTE_NUM_HANDLES_OFFSET as u64).ok_or(Errno::EFAULT)?;
    caller_memory::read(tid, at, &mut number)?;
    let number = u32::from_ne_bytes(number);
    if number > REMOTE_MAX_HANDLES {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; REMOTE_ARG_BYTES + 8 * number as usize];
    caller_memory::read(tid, address, &mut bytes)?;
    RemoteArg::decode(&bytes, number).map_err(|errno| Errno::from_raw(errno.0))
}

/// Reads the next request without removing it from the socket. The kernel drops descriptors that are attached, because
/// there is no control buffer.
fn peek(requests: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<ReaderRequest, Stop> {
    // With MSG_TRUNC, recv returns the full length of the datagram even if the buffer is smaller.
    let length = receive(requests, bytes, MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC)?;
    let datagram = bytes.get(..length).ok_or(Stop::PeerAtFault)?;
    message::decode(datagram).map_err(|_| Stop::PeerAtFault)
}

/// Removes the request from the socket after [`peek`].
fn take(requests: BorrowedFd<'_>) -> Result<(), Stop> {
    // One byte is enough: the kernel discards the rest of the datagram.
    receive(requests, &mut [0; 1], MsgFlags::empty()).map(drop)
}

fn receive(requests: BorrowedFd<'_>, bytes: &mut [u8], flags: MsgFlags) -> Result<usize, Stop> {
    loop {
        match recv(requests.as_raw_fd(), bytes, flags) {
            Ok(0) | Err(Errno::ECONNRESET) => return Err(Stop::Closed),
            Ok(length) => return Ok(length),
            Err(Errno::EINTR) => {}
            Err(_) => return Err(Stop::Broken),
        }
    }
}

fn transmit(requests: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Stop> {
    loop {
        match send(requests.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(Stop::Closed),
            Err(_) => return Err(Stop::Broken),
        }
    }
}
