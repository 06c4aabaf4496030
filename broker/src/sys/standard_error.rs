//! Writing to standard error without waiting for whoever reads it.
//!
//! Standard error is shared with other processes, often with the tenant itself. Setting `O_NONBLOCK` would change it
//! for all of them, and a `poll(2)` before each write races with their writes.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{dup2_stderr, write as write_fd};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

/// Writes all of `bytes`. Waits at most for `patience` until there is room. Returns whether all was written: not if
/// standard error is closed, full, or its reader is gone or too slow.
#[must_use]
pub fn write(mut bytes: &[u8], patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        match write_some(bytes) {
            Ok(length) if length == bytes.len() => return true,
            Ok(0) => return false,
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if wait_for_room(end) => {}
            Err(_) => return false,
        }
    }
}

/// Replaces this process's descriptor of standard error by one that never waits, if it is a pipe or a terminal.
/// Children that need the original descriptor must have been forked before. A file description of its own is needed,
/// so this opens the file again; if that is not possible, `write` does what it can.
pub fn detach() {
    let kind = kind();
    if kind != SFlag::S_IFIFO && kind != SFlag::S_IFCHR {
        return;
    }
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    if let Ok(file) = open("/proc/self/fd/2", flags, Mode::empty()) {
        // Fails only if the process has no room for a descriptor, which it replaces.
        let _ = dup2_stderr(file);
    }
}

fn kind() -> SFlag {
    fstat(io::stderr())
        .map_or(SFlag::empty(), |facts| SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT)
}

/// Writes what there is room for.
fn write_some(bytes: &[u8]) -> Result<usize, Errno> {
    let stderr = io::stderr();
    let kind = kind();
    if kind == SFlag::S_IFSOCK {
        return send(stderr.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
    }
    if kind == SFlag::S_IFIFO {
        match write_nowait(bytes) {
            // Before Linux 6.5 pipes do not know the flag.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => {}
            written => return written,
        }
    }
    if !has_room(PollTimeout::ZERO) {
        return Err(Errno::EAGAIN);
    }
    write_fd(stderr, bytes)
}

/// `pwritev2(2)` with `RWF_NOWAIT`, at the current offset.
fn write_nowait(bytes: &[u8]) -> Result<usize, Errno> {
    let parts = [IoSlice::new(bytes)];
    // SAFETY: an IoSlice has the layout of a struct iovec (its documentation), and both outlive the call.
    let written =
        unsafe { libc::pwritev2(libc::STDERR_FILENO, parts.as_ptr().cast(), 1, -1, libc::RWF_NOWAIT) };
    Errno::result(written).map(isize::cast_unsigned)
}

fn has_room(timeout: PollTimeout) -> bool {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // An error or a hang-up counts as room: the write reports it.
    matches!(poll(&mut fds, timeout), Ok(1..))
}

fn wait_for_room(end: Instant) -> bool {
    let left = end.saturating_duration_since(Instant::now());
    !left.is_zero() && has_room(PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))
}
