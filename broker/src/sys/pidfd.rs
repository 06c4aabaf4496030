//! Processes by pidfd: a number that cannot be recycled under us.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Sends a signal.
///
/// # Errors
/// `ESRCH` if the process is gone.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: Signal) -> Result<(), Errno> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: integers and a null pointer, which means "as kill(2) would".
    let done = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal as libc::c_int, none, 0)
    };
    Errno::result(done).map(drop)
}

/// A duplicate of descriptor `number` of another process.
///
/// # Errors
/// `EBADF` if it has none such.
pub fn get_fd(pidfd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Whether the task has exited, as poll sees it.
#[must_use]
pub fn is_dead(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..))
}

/// Waits for the task to exit, at most `milliseconds`. Says whether it did.
#[must_use]
pub fn wait_dead(pidfd: BorrowedFd<'_>, milliseconds: u16) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::from(milliseconds)), Ok(1..))
}

/// `PIDFD_INFO_EXIT`: ask for the exit code (Linux 6.15).
const INFO_EXIT: u64 = 1 << 3;
/// `struct pidfd_info` of the first version, in words: the mask is the first, the exit code the upper half of the last.
const INFO_WORDS: usize = 8;

mod raw {
    nix::ioctl_readwrite!(info, 0xff, 11, [u64; super::INFO_WORDS]);
}

/// How a process that has been reaped ended, as `wait(2)` would say it; `None` before, or on an older kernel.
#[must_use]
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = [0; INFO_WORDS];
    info[0] = INFO_EXIT;
    // SAFETY: the kernel reads and writes the 64 bytes that the request's size says.
    unsafe { raw::info(pidfd.as_raw_fd(), &raw mut info) }.ok()?;
    (info[0] & INFO_EXIT != 0).then_some((info[INFO_WORDS - 1] >> 32) as i32)
}
