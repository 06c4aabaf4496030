//! memfds: made, re-opened, and asked who holds them open.

use super::process;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

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

/// Device number that every memfd of this machine has.
///
/// # Errors
/// As `memfd_create(2)`.
pub fn device() -> Result<u64, Errno> {
    let probe = create(c"kcov-probe")?;
    Ok(process::file_facts(probe.as_fd())?.id.device)
}

/// The way to new descriptions of this process's files: its own `/proc/self/fd`, kept open, as the path there is a third
/// of the cost. It stands for the process that opened it.
#[derive(Debug)]
pub struct Reopener {
    directory: OwnedFd,
}

impl Reopener {
    /// For this process.
    ///
    /// # Errors
    /// As `open(2)`: procfs is not mounted.
    pub fn new() -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Reopener { directory: open("/proc/self/fd", flags, Mode::empty())? })
    }

    /// A new description of the file behind `fd`.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn reopen(&self, fd: BorrowedFd<'_>, flags: OFlag) -> Result<OwnedFd, Errno> {
        let name = fd.as_raw_fd().to_string();
        openat(&self.directory, name.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())
    }
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

/// Gives back the lease that a granted question left: it would hold up whoever opens the file.
///
/// # Errors
/// As `fcntl(2)`.
pub fn give_back(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: a plain fcntl with an integer argument.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) }).map(drop)
}

/// Asks for a lease. One that is granted stays until it is given back, or the file is closed.
fn is_granted(fd: BorrowedFd<'_>, lease: libc::c_int) -> Result<bool, Errno> {
    // SAFETY: a plain fcntl with an integer argument.
    match Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, lease) }) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EBUSY) => Ok(false),
        Err(errno) => Err(errno),
    }
}
