//! Flags of files that even root's writes respect.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `FS_IMMUTABLE_FL` (`include/uapi/linux/fs.h`).
const IMMUTABLE: libc::c_int = 0x10;

/// Lets nobody add, remove or rename what is in `directory`, which must be open for more than its path: `EPERM`.
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` where the file system has no such flag (tmpfs before Linux 6.6), `EPERM` without
/// `CAP_LINUX_IMMUTABLE` in the first user namespace.
pub fn keep_names(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = IMMUTABLE;
    // SAFETY: the kernel reads one int (`ioctl_setflags`, fs/ioctl.c, Linux 6.12), which outlives the call.
    let done = unsafe { libc::ioctl(directory.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) };
    Errno::result(done).map(drop)
}
