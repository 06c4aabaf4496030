//! Tasks by pidfd: opening one, and what the kernel reports about its task.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `PIDFD_THREAD`: a pidfd of this very thread (`include/uapi/linux/pidfd.h`, Linux 6.9).
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;

/// `struct pidfd_info` as Linux 6.13 has it (`PIDFD_INFO_SIZE_VER0`).
#[repr(C)]
#[derive(Default)]
pub(super) struct PidfdInfo {
    pub mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    pub exit_code: i32,
}

mod raw {
    nix::ioctl_readwrite!(pidfd_get_info, 0xff, 11, super::PidfdInfo);
}

/// A task as `PIDFD_GET_INFO` describes it, numbered in the calling process's PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    /// Its thread group.
    pub tgid: u32,
    /// The thread group of its real parent; 0 if that is outside of the caller's PID namespace.
    pub ppid: u32,
}

/// Opens a pidfd of the thread `tid` (Linux 6.9), or of the process of that number.
///
/// # Errors
/// `ESRCH` if there is none; `EINVAL` where the kernel has no pidfds of threads.
pub fn pidfd_open(tid: u32, thread: bool) -> Result<OwnedFd, Errno> {
    let flags = if thread { PIDFD_THREAD } else { 0 };
    // SAFETY: pidfd_open takes two integers and no memory.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, flags) })?;
    // SAFETY: the kernel has just made this descriptor for this process, and no owner has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Returns whether the task of `pidfd` still has its number: until it is reaped no other task can have it.
#[must_use]
pub fn holds_number(pidfd: BorrowedFd<'_>) -> bool {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: signal 0 delivers nothing; a null siginfo is allowed, and nothing else is pointed to.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, none, 0) };
    // EPERM is returned for a live task only: the permission check follows the look-up (kernel/signal.c,
    // 6.12).
    !matches!(Errno::result(result), Err(Errno::ESRCH))
}

/// Returns which task a pidfd refers to (`PIDFD_GET_INFO`, Linux 6.13).
///
/// # Errors
/// `ESRCH` if the task is gone; `ENOTTY` or `EINVAL` on older kernels.
pub fn task_info(pidfd: BorrowedFd<'_>) -> Result<TaskInfo, Errno> {
    let PidfdInfo { tgid, ppid, .. } = info(pidfd, 0)?;
    Ok(TaskInfo { tgid, ppid })
}

/// `PIDFD_GET_INFO`, asking for the fields of `mask` besides those that are always there.
pub(super) fn info(pidfd: BorrowedFd<'_>, mask: u64) -> Result<PidfdInfo, Errno> {
    let mut info = PidfdInfo { mask, ..PidfdInfo::default() };
    // SAFETY: the kernel reads and writes at most the 64 bytes that the request number encodes, the size of
    // `info`.
    unsafe { raw::pidfd_get_info(pidfd.as_raw_fd(), &raw mut info) }?;
    Ok(info)
}
