//! The reader: reads one tenant's memory and resolves its paths, for that tenant's workers.
//!
//! Reading a tenant's memory, or walking its file systems, may block for ever: the page may be on a userfaultfd,
//! the directory in the tenant's own FUSE mount. So this is a process of its own, which the broker kills at its
//! deadline and replaces. It holds its sockets, the tenant's listener, procfs, and the right to look into the
//! tenant; it changes nothing but the memory that a handler writes to for the caller.
//!
//! A request is an allegation of a worker that may be compromised. Two checks bound what it can learn:
//! - the thread that it names descends from the tenant's first process (`members`), and is shown to be the
//!   same task *after* the work was done by its number;
//! - the notification that it names is still pending on the tenant's listener, also after the work. So the
//!   caller was blocked in its call all the time, and what was read is what the call would have read.
//!
//! How often and how much handlers may read and write is bounded for all readers of a tenant together
//! ([`Allowance`]).

mod access;
pub mod allowance;
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
use crate::sys::listener::{self, Answer};
use crate::sys::shared::SharedWords;
use kcov_proto::abi::{self, REMOTE_ARG_BYTES, REMOTE_MAX_HANDLES, REMOTE_NUM_HANDLES_OFFSET, RemoteArg};
use kcov_proto::message::{
    self, Assist, AssistKind, FileId, MAX_BYTES, MAX_PATH, MAX_READ, MAX_WRITE, ReaderKind, ReaderReply,
    ReaderRequest,
};
use kcov_proto::sync::Ordering;
use members::Members;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use path::Lookup;
use procfs::Procfs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// How often a request is served again because its thread's number was found to have changed hands.
const ATTEMPTS: usize = 2;

/// The process that every process of a tenant descends from, and that is not of the tenant itself: a child
/// subreaper, so that orphans come back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantRoot {
    /// Its process id, as this process's PID namespace numbers it.
    pub pid: u32,
}

/// Serves requests until the peer hangs up or breaks the protocol, then ends the process.
///
/// `requests` is the reader's end of a `SOCK_SEQPACKET` pair. The exit status is 0 when the peer is gone, 1 if
/// the tenant is gone or a system call failed, 2 if the peer sent what is no request.
pub fn serve(sockets: Sockets, tenant: TenantRoot, device: DeviceFiles) -> ! {
    let status = match Reader::new(tenant, device) {
        Ok(mut reader) => reader.run(&sockets),
        Err(_) => End::Broken,
    };
    fork::exit_now(status as i32)
}

/// Why a reader stops; the discriminant is its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed = 0,
    Broken = 1,
    PeerAtFault = 2,
}

/// Word of the page that a reader shares with the broker: the id of the notification at work, or 0.
pub const BUSY: usize = 0;
/// Word of that page: requests served so far.
pub const SERVED: usize = 1;

/// What a reader speaks with.
#[derive(Debug)]
pub struct Sockets {
    /// The reader's end of a `SOCK_SEQPACKET` pair, for the worker's requests.
    pub requests: OwnedFd,
    /// The same, for opens that are passed on to the broker.
    pub broker: OwnedFd,
    /// The tenant's listener.
    pub listener: OwnedFd,
    /// Shared with the broker: [`BUSY`] and [`SERVED`].
    pub busy: SharedWords,
    /// Shared with the broker and the tenant's other readers.
    pub allowance: Allowance,
}

/// Files that stand for the KCOV device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFiles {
    /// The device itself, wherever it is mounted.
    pub placeholders: Vec<FileId>,
    /// Devices of handlers, by their number.
    pub devices: Vec<FileId>,
    /// Device number of memfds: a file there may be an arena, opened anew through procfs.
    pub memfd_device: u64,
}

/// Everything that outlives a request.
struct Reader {
    procfs: Procfs,
    members: Members,
    device: DeviceFiles,
    text: Box<[u8; MAX_PATH]>,
    /// A request, as it was sent.
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

    fn run(&mut self, sockets: &Sockets) -> End {
        loop {
            let request = match peek(sockets.requests.as_fd(), &mut self.request) {
                Ok(request) => request,
                Err(end) => return end,
            };
            // Shown before it is taken: at no moment is it in neither place, whatever ends this process.
            sockets.busy[BUSY].store(request.id, Ordering::Release);
            if let Err(end) = take(sockets.requests.as_fd()) {
                return end;
            }
            let served = if request.what.wants_reply() {
                self.reply(&request, sockets)
            } else {
                self.pass_on(&request, sockets)
            };
            sockets.busy[BUSY].store(0, Ordering::Release);
            let served_before = sockets.busy[SERVED].load(Ordering::Relaxed);
            sockets.busy[SERVED].store(served_before.wrapping_add(1), Ordering::Relaxed);
            if let Err(end) = served {
                return end;
            }
        }
    }

    fn reply(&mut self, request: &ReaderRequest, sockets: &Sockets) -> Result<(), End> {
        let is_valid = || listener::id_valid(sockets.listener.as_fd(), request.id).map_err(|_| End::Broken);
        // Before: what is written stays, and a page that held up one reader past the deadline must not hold up the next.
        // After: only then was the caller blocked in its call all the time.
        let reply = if !is_valid()? {
            ReaderReply::Gone
        } else if sockets.allowance.admit(&request.what) {
            self.answer(request)
        } else {
            ReaderReply::Fail(kcov_proto::Errno::ENOMEM)
        };
        let reply = if is_valid()? { reply } else { ReaderReply::Gone };
        message::encode(&reply, &mut self.bytes).map_err(|_| End::Broken)?;
        transmit(sockets.requests.as_fd(), &self.bytes)
    }

    /// Passes a call that concerns the device on to the broker, and lets all others go on.
    fn pass_on(&mut self, request: &ReaderRequest, sockets: &Sockets) -> Result<(), End> {
        let tid = request.tid;
        let what = match self.work_for(tid, |reader| Ok(reader.translate(tid, &request.what))) {
            Ok(Some(what)) => what,
            Err(Errno::ESRCH) => return Ok(()),
            // Another file, none at all, an unreadable path: the kernel says it best.
            Ok(None) | Err(_) => {
                let sent = listener::send(sockets.listener.as_fd(), request.id, Answer::Continue);
                return sent.map(drop).map_err(|_| End::Broken);
            }
        };
        let assist = Assist { id: request.id, tid, what };
        message::encode(&assist, &mut self.bytes).map_err(|_| End::Broken)?;
        transmit(sockets.broker.as_fd(), &self.bytes)
    }

    /// What the broker is to do; `None` if the call does not concern the device.
    fn translate(&mut self, tid: u32, what: &ReaderKind) -> Option<AssistKind> {
        match *what {
            ReaderKind::Memory { .. } | ReaderKind::Write { .. } => None,
            ReaderKind::Open { flags, dirfd, address, resolve } => {
                self.open(tid, flags, dirfd, address, resolve)
            }
            ReaderKind::Openat2 { dirfd, address, how, size } => {
                let how = open_how::read(tid, how, size)?;
                self.open(tid, how.flags, dirfd, address, how.resolve)
            }
            ReaderKind::RemoteEnable { fd, address } => {
                let remote = remote_arg(tid, address).map_err(|errno| kcov_proto::Errno(errno as i32));
                Some(AssistKind::Ioctl {
                    fd,
                    request: abi::REMOTE_ENABLE,
                    arg: address,
                    remote: Some(remote),
                })
            }
            ReaderKind::OldMmap { address } => {
                // Six 32-bit words: address, length, protection, flags, descriptor, offset.
                let [first, second, third] = words(tid, address).ok()?;
                let high = |word: u64| word >> 32;
                let low = |word: u64| word & 0xffff_ffff;
                let (address, length) = (low(first), high(first));
                let (prot, flags) = (low(second) as u32, high(second) as u32);
                let (fd, offset) = (low(third) as u32 as i32, high(third));
                let of_a_file = flags & libc::MAP_ANONYMOUS as u32 == 0 && fd >= 0;
                of_a_file.then_some(AssistKind::Mmap { fd, address, length, offset, prot, flags })
            }
        }
    }

    fn open(&mut self, tid: u32, flags: i32, dirfd: i32, address: u64, resolve: u64) -> Option<AssistKind> {
        if never_the_device(flags) {
            return None;
        }
        let file = self.find(tid, flags, dirfd, address, resolve).ok()?;
        let flags = flags.cast_unsigned();
        let device = self.device.devices.iter().position(|&device| device == file);
        if let Some(device) = device.and_then(|device| u16::try_from(device).ok()) {
            return Some(AssistKind::Open { flags, reopened: None, device: Some(device) });
        }
        let reopened = match self.device.placeholders.contains(&file) {
            true => None,
            false if file.device == self.device.memfd_device => Some(file),
            false => return None,
        };
        Some(AssistKind::Open { flags, reopened, device: None })
    }

    /// The file that a path of the caller leads to.
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
        resolve_for(&self.procfs, &self.device, tid, flags, &lookup)
    }

    /// Serves one request; whether its notification is still valid is for the caller to ask.
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

    /// Writes to a thread's memory, once. It is shown to be the tenant's, and to have its number still, right before as
    /// well as after: what is written cannot be taken back. Between the two its notification is pending, so its number
    /// changes hands only if it is killed and every other number is given out in that moment.
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

    /// Does `work` for a thread that is shown to be the tenant's before, and to have its number still afterwards.
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

/// Flags with which an open never yields the device: the placeholder gives the kernel's answer. `O_TMPFILE` includes
/// `O_DIRECTORY`, and is `EINVAL` without it.
fn never_the_device(flags: i32) -> bool {
    const EXCLUSIVE: i32 = libc::O_CREAT | libc::O_EXCL;
    flags & (libc::O_PATH | libc::O_TMPFILE) != 0 || flags & EXCLUSIVE == EXCLUSIVE
}

/// Three words of the caller's memory.
fn words(tid: u32, address: u64) -> Result<[u64; 3], Errno> {
    let mut bytes = [0; 24];
    caller_memory::read(tid, address, &mut bytes)?;
    let word = |i: usize| std::array::from_fn(|byte| bytes[8 * i + byte]);
    Ok([0, 1, 2].map(|i| u64::from_ne_bytes(word(i))))
}

/// The file that an open with `flags` leads to. A placeholder stands for a device of mode 0600, and an arena is a file
/// of that mode, so who may not open that gets `EACCES`, as from the kernel, and who would write by a mount that is for
/// reading gets `EROFS`; every other file is judged by the kernel itself when the call goes on.
fn resolve_for(
    procfs: &Procfs,
    device: &DeviceFiles,
    tid: u32,
    flags: i32,
    lookup: &Lookup<'_>,
) -> Result<FileId, Errno> {
    let found = path::resolve(procfs, tid, lookup)?;
    let id = found.facts.id;
    let is_placeholder = device.placeholders.contains(&id);
    let may_be_the_device = is_placeholder || id.device == device.memfd_device;
    if may_be_the_device && !access::may_open(procfs, tid, found.facts.uid)? {
        return Err(Errno::EACCES);
    }
    if is_placeholder && flags & libc::O_ACCMODE != libc::O_RDONLY && path::is_read_only(found.file.as_fd()) {
        return Err(Errno::EROFS);
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

/// Reads in the order of `kcov_ioctl` (`kernel/kcov.c`, 6.12): the number of handles, its bound, the whole.
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

/// The next request, which stays in the socket. Descriptors that ride along are dropped by the kernel: no room is given
/// for them.
fn peek(requests: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<ReaderRequest, End> {
    // MSG_TRUNC makes the call return the length that was sent, also when it did not fit.
    let length = receive(requests, bytes, MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC)?;
    let datagram = bytes.get(..length).ok_or(End::PeerAtFault)?;
    message::decode(datagram).map_err(|_| End::PeerAtFault)
}

/// Takes the request that was peeked at out of the socket.
fn take(requests: BorrowedFd<'_>) -> Result<(), End> {
    // One byte is enough room: what does not fit is discarded.
    receive(requests, &mut [0; 1], MsgFlags::empty()).map(drop)
}

fn receive(requests: BorrowedFd<'_>, bytes: &mut [u8], flags: MsgFlags) -> Result<usize, End> {
    loop {
        match recv(requests.as_raw_fd(), bytes, flags) {
            Ok(0) | Err(Errno::ECONNRESET) => return Err(End::Closed),
            Ok(length) => return Ok(length),
            Err(Errno::EINTR) => {}
            Err(_) => return Err(End::Broken),
        }
    }
}

fn transmit(requests: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), End> {
    loop {
        match send(requests.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(End::Closed),
            Err(_) => return Err(End::Broken),
        }
    }
}
