//! The ioctls of a seccomp listener that the broker and the readers use (`seccomp_unotify(2)`).

use super::alarm::Alarm;
use kcov_proto::{Errno, message::NotificationId};
use nix::errno::Errno as SysErrno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

mod raw {
    nix::ioctl_readwrite!(recv, b'!', 0, libc::seccomp_notif);
    nix::ioctl_readwrite!(send, b'!', 1, libc::seccomp_notif_resp);
    nix::ioctl_write_ptr!(id_valid, b'!', 2, u64);
    nix::ioctl_write_ptr!(addfd, b'!', 3, libc::seccomp_notif_addfd);
}

/// `SECCOMP_ADDFD_FLAG_SEND`: add the descriptor and answer with its number in one step.
const ADDFD_FLAG_SEND: u32 = 1 << 1;

/// What a notification is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call returns this value.
    Value(i64),
    /// The call fails with this error.
    Fail(Errno),
    /// The kernel runs the call.
    Continue,
}

/// Takes the notification that has waited longest; `None` if there is none. For a listener that shows `POLLIN`: it waits for
/// some milliseconds if somebody else is quicker.
///
/// # Errors
/// Anything but that.
pub fn receive(listener: BorrowedFd<'_>) -> Result<Option<libc::seccomp_notif>, SysErrno> {
    // RECV knows no O_NONBLOCK.
    let _alarm = Alarm::every(Duration::from_millis(5))?;
    // SAFETY: all of its fields are integers; the kernel wants zeroes.
    let mut notification: libc::seccomp_notif = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the kernel reads and writes a `seccomp_notif`, which is a live one of this frame.
    match unsafe { raw::recv(listener.as_raw_fd(), &raw mut notification) } {
        Ok(_) => Ok(Some(notification)),
        Err(SysErrno::ENOENT | SysErrno::EINTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether the notification still waits for an answer.
///
/// # Errors
/// Anything but "no such notification".
pub fn id_valid(listener: BorrowedFd<'_>, id: NotificationId) -> Result<bool, SysErrno> {
    // SAFETY: the kernel reads 8 bytes behind the pointer, which is a live u64 of this frame.
    match unsafe { raw::id_valid(listener.as_raw_fd(), &raw const id) } {
        Ok(_) => Ok(true),
        Err(SysErrno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Answers a notification. `Ok(false)`: there is none such (any more): the caller died, or somebody was quicker.
///
/// # Errors
/// Anything but that.
pub fn send(listener: BorrowedFd<'_>, id: NotificationId, answer: Answer) -> Result<bool, SysErrno> {
    let (val, error, flags) = match answer {
        Answer::Value(value) => (value, 0, 0),
        Answer::Fail(errno) => (0, -errno.0, 0),
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
    };
    let mut response = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: the kernel reads and writes a `seccomp_notif_resp`, which is a live one of this frame.
    match unsafe { raw::send(listener.as_raw_fd(), &raw mut response) } {
        Ok(_) => Ok(true),
        Err(SysErrno::ENOENT | SysErrno::EINPROGRESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives the caller a descriptor of `file` and answers the notification with its number, in one step.
///
/// # Errors
/// `ENOENT` if the caller is gone, `EMFILE` if it has no number left (the notification waits on then).
pub fn add_fd_send(
    listener: BorrowedFd<'_>,
    id: NotificationId,
    file: BorrowedFd<'_>,
    close_on_exec: bool,
) -> Result<i32, SysErrno> {
    let newfd_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
    let srcfd = file.as_raw_fd() as u32;
    let request = libc::seccomp_notif_addfd { id, flags: ADDFD_FLAG_SEND, srcfd, newfd: 0, newfd_flags };
    // SAFETY: the kernel reads a `seccomp_notif_addfd`, which is a live one of this frame; `file` outlives the call.
    unsafe { raw::addfd(listener.as_raw_fd(), &raw const request) }
}
