//! The descriptors that a process inherits.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// Takes over a descriptor that the parent left open for this program.
///
/// To be called once for each number, before the program opens anything.
///
/// # Errors
/// `EBADF` if it is not open.
pub fn inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: F_GETFD only asks whether the number is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(Errno::last());
    }
    // SAFETY: it is open, and the program, which has just started, has not given it to another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes all descriptors except `keep`, and opens `/dev/null` as each of 0, 1 and 2 that is not among them.
///
/// Owners of the closed descriptors are left with numbers that are not theirs: the caller must not use or
/// drop them again.
///
/// # Errors
/// As `open(2)` of `/dev/null` and `close_range(2)`.
pub fn close_others(keep: &[RawFd]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = keep.iter().filter_map(|&fd| u32::try_from(fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept {
        if first < fd {
            close_range(first, fd - 1)?;
        }
        first = fd.saturating_add(1);
    }
    close_range(first, u32::MAX)?;
    fill_standard_streams()
}

/// `open` returns the lowest free number, so the streams are filled once it returns one above them.
fn fill_standard_streams() -> Result<(), Errno> {
    loop {
        let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
        if null.as_raw_fd() > libc::STDERR_FILENO {
            return Ok(());
        }
        // Stays open as a standard stream.
        let _: RawFd = null.into_raw_fd();
    }
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    const NO_FLAGS: libc::c_uint = 0;
    // SAFETY: three integers. `close_others` makes it the caller's duty that no owner of these numbers is
    // used again.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, NO_FLAGS) }).map(drop)
}
