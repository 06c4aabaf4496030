//! Processes by pidfd: unlike a process id, it never comes to mean another process.

use super::process::info;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `PIDFD_INFO_EXIT`: asks for the exit code (Linux 6.15).
const INFO_EXIT: u64 = 1 << 3;

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

/// Duplicates descriptor `number` of another process.
///
/// # Errors
/// `EBADF` if the process does not have it.
pub fn get_fd(pidfd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for this process, and no owner has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Returns whether the task has exited.
#[must_use]
pub fn is_dead(pidfd: BorrowedFd<'_>) -> bool {
    wait_dead(pidfd, 0)
}

/// Waits for the task to exit, at most `milliseconds`. Returns whether it has.
#[must_use]
pub fn wait_dead(pidfd: BorrowedFd<'_>, milliseconds: u16) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::from(milliseconds)), Ok(1..))
}

/// Returns the exit status, as `wait(2)` encodes it, of a process that has been reaped; `None` before, or on
/// an older kernel.
#[must_use]
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = info(pidfd, INFO_EXIT).ok()?;
    (info.mask & INFO_EXIT != 0).then_some(info.exit_code)
}
