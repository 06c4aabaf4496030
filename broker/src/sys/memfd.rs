//! memfds: made, re-opened, and asked who holds them open.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `MFD_NOEXEC_SEAL` (Linux 6.3): never executable.
const NOEXEC_SEAL: libc::c_uint = 0x8;

/// A new memfd that takes seals, close-on-exec.
///
/// # Errors
/// As `memfd_create(2)`.
pub fn create(name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    match memfd_create(name, flags | MFdFlags::from_bits_retain(NOEXEC_SEAL)) {
        Err(Errno::EINVAL) => memfd_create(name, flags),
        other => other,
    }
}

/// A new description of the file behind `fd`, by way of procfs.
///
/// # Errors
/// As `open(2)`.
pub fn reopen(fd: BorrowedFd<'_>, flags: OFlag) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open(path.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// Whether no description of the file is open for writing, besides those that `memfd_create` returned: the kernel counts
/// those as no writers. It grants a read lease exactly then (`check_conflicting_open`, `fs/locks.c`, Linux 6.18).
/// A mapping counts as the description that it was made from.
///
/// # Errors
/// Anything but "somebody writes".
pub fn has_no_writer(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    is_granted(fd, libc::F_RDLCK)
}

/// Whether `fd`, a re-opened read-write description, is the only one of its file that is open for reading or writing.
/// The kernel grants a write lease exactly then: it compares the file's counts of readers and writers with what this
/// description alone contributes.
///
/// # Errors
/// Anything but "others have it open".
pub fn is_sole(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    is_granted(fd, libc::F_WRLCK)
}

/// Asks for a lease and gives it back: an owner may keep the instance, and a lease would hold up whoever opens the file.
fn is_granted(fd: BorrowedFd<'_>, lease: libc::c_int) -> Result<bool, Errno> {
    // SAFETY: a plain fcntl with an integer argument.
    match Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, lease) }) {
        Ok(_) => {}
        Err(Errno::EAGAIN | Errno::EBUSY) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) })?;
    Ok(true)
}
