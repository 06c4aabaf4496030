//! The seccomp listener as the broker and the readers use it.

use super::alarm::Alarm;
use nix::errno::Errno;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub use kcov_sys::listener::{add_fd_send, id_valid, send, set_fd};

/// Takes the notification that has waited longest; `None` if there is none. For a listener that shows
/// `POLLIN`: if another process takes the notification first, this waits for some milliseconds.
///
/// # Errors
/// All of the ioctl except `ENOENT` and `EINTR`.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Option<libc::seccomp_notif>, Errno> {
    // The ioctl ignores O_NONBLOCK.
    let _alarm = Alarm::every(Duration::from_millis(5))?;
    match kcov_sys::listener::receive(listener) {
        Ok(notification) => Ok(Some(notification)),
        Err(Errno::ENOENT | Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
