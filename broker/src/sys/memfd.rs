//! memfds: making and re-opening them, and finding out whether other processes have them open.

use super::file::file_facts;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `MFD_NOEXEC_SEAL` (Linux 6.3): cannot become executable.
const NOEXEC_SEAL: libc::c_uint = 0x8;

/// Makes a memfd that can be sealed, close-on-exec.
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

/// Returns the device number that all memfds of this machine have.
///
/// # Errors
/// As `memfd_create(2)`.
pub fn device() -> Result<u64, Errno> {
    let probe = create(c"kcov-probe")?;
    Ok(file_facts(probe.as_fd())?.id.device)
}

/// Opens new descriptions of this process's files through `/proc/self/fd`. The directory stays open, as
/// resolving the path is a third of the cost; it refers to the process that opened it, not to its children.
#[derive(Debug)]
pub struct Reopener {
    directory: OwnedFd,
}

impl Reopener {
    /// Opens the directory of the calling process.
    ///
    /// # Errors
    /// As `open(2)`: `ENOENT` if procfs is not mounted.
    pub fn new() -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Reopener { directory: open("/proc/self/fd", flags, Mode::empty())? })
    }

    /// Opens a new description of the file that `fd` refers to.
    ///
    /// # Errors
    /// As `open(2)`.
    pub fn reopen(&self, fd: BorrowedFd<'_>, flags: OFlag) -> Result<OwnedFd, Errno> {
        let name = fd.as_raw_fd().to_string();
        openat(&self.directory, name.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())
    }
}

/// Returns whether no description of the file is open for writing, except those that `memfd_create` returned,
/// which the kernel does not count as writers. It grants a read lease exactly then (`check_conflicting_open`,
/// `fs/locks.c`, Linux 6.18). A mapping counts as the description that it was made from.
///
/// # Errors
/// As `fcntl(2)`, except `EAGAIN` and `EBUSY`.
pub fn has_no_writer(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    is_granted(fd, libc::F_RDLCK)
}

/// Returns whether `fd`, a re-opened read-write description, is the only one of its file that is open for
/// reading or writing. The kernel grants a write lease exactly then: it compares the file's counts of readers
/// and writers with the contribution of this description.
///
/// # Errors
/// As `fcntl(2)`, except `EAGAIN` and `EBUSY`.
pub fn is_sole(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    is_granted(fd, libc::F_WRLCK)
}

/// Releases the lease that [`has_no_writer`] or [`is_sole`] was granted: it would block the next open of the
/// file.
///
/// # Errors
/// As `fcntl(2)`.
pub fn give_back(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: a plain fcntl with an integer argument.
    Errno::result(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) }).map(drop)
}

/// Gives the description a shared `flock(2)`, which shows in its fdinfo. It conflicts with no lock of `fcntl(2)`.
///
/// # Errors
/// As `flock(2)`.
pub fn lock_shared(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: flock takes two integers.
    Errno::result(unsafe { libc::flock(fd.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) }).map(drop)
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
