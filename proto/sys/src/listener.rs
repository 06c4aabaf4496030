//! The ioctls of a seccomp listener (`seccomp_unotify(2)`).

use kcov_proto::message::{NotificationId, Response};
use kcov_proto::slot;
use kcov_proto::sync::{AtomicU64, Ordering};
use nix::errno::Errno as SysErrno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

mod raw {
    nix::ioctl_readwrite!(recv, b'!', 0, libc::seccomp_notif);
    nix::ioctl_readwrite!(send, b'!', 1, libc::seccomp_notif_resp);
    nix::ioctl_write_ptr!(id_valid, b'!', 2, u64);
    nix::ioctl_write_ptr!(addfd, b'!', 3, libc::seccomp_notif_addfd);
}

const _: () = assert!(size_of::<libc::seccomp_notif>() == slot::NOTIFICATION_WORDS * 8);

/// `SECCOMP_ADDFD_FLAG_SETFD`: adds the descriptor at a given number, in place of the one there.
const ADDFD_FLAG_SETFD: u32 = 1 << 0;
/// `SECCOMP_ADDFD_FLAG_SEND`: adds the descriptor and answers with its number in one step.
const ADDFD_FLAG_SEND: u32 = 1 << 1;

/// Waits for a notification.
///
/// # Errors
/// `ENOENT` if the caller died in between or no process uses the filter any more, `EINTR` on a signal.
pub fn receive(listener: BorrowedFd<'_>) -> Result<libc::seccomp_notif, SysErrno> {
    // SAFETY: all of its fields are integers; the kernel demands zeroes.
    let mut notification: libc::seccomp_notif = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the kernel reads and writes a `seccomp_notif`, which is a live one of this frame.
    unsafe { raw::recv(listener.as_raw_fd(), &raw mut notification) }?;
    Ok(notification)
}

/// Clears the notification that a slot shows. Returns its words.
#[inline]
pub fn clear_slot(slot: &[AtomicU64]) -> &[AtomicU64] {
    let words = &slot[slot::NOTIFICATION..slot::NOTIFICATION + slot::NOTIFICATION_WORDS];
    for word in words {
        // The id comes first, so the broker never sees an old id with a new call.
        word.store(0, Ordering::Relaxed);
    }
    words
}

/// Waits for a notification and receives it into the slot, where the broker sees it from the moment that the
/// kernel hands it over.
///
/// # Errors
/// As [`receive`].
#[inline]
pub fn receive_into_slot(listener: BorrowedFd<'_>, slot: &[AtomicU64]) -> Result<(), SysErrno> {
    // The kernel demands zeroes.
    let words = clear_slot(slot);
    let notification = words.as_ptr().cast_mut().cast::<libc::seccomp_notif>();
    // SAFETY: the words are as long as the structure (checked above) and writable shared memory: the kernel
    // copies into them as any other process that shares the slot might.
    unsafe { raw::recv(listener.as_raw_fd(), notification) }?;
    Ok(())
}

/// Returns whether the notification still waits for an answer.
///
/// # Errors
/// All of the ioctl except `ENOENT`.
pub fn id_valid(listener: BorrowedFd<'_>, id: NotificationId) -> Result<bool, SysErrno> {
    // SAFETY: the kernel reads 8 bytes behind the pointer, which is a live u64 of this frame.
    match unsafe { raw::id_valid(listener.as_raw_fd(), &raw const id) } {
        Ok(_) => Ok(true),
        Err(SysErrno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Answers a notification. Returns `false` if it no longer waits: the caller died, or another process
/// answered first.
///
/// # Errors
/// All of the ioctl except `ENOENT` and `EINPROGRESS`.
#[inline]
pub fn send(listener: BorrowedFd<'_>, id: NotificationId, answer: Response) -> Result<bool, SysErrno> {
    let (val, error, flags) = match answer {
        Response::Value(value) => (value, 0, 0),
        Response::Fail(errno) => (0, -errno.0, 0),
        Response::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
    };
    let mut response = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: the kernel reads and writes a `seccomp_notif_resp`, which is a live one of this frame.
    match unsafe { raw::send(listener.as_raw_fd(), &raw mut response) } {
        Ok(_) => Ok(true),
        Err(SysErrno::ENOENT | SysErrno::EINPROGRESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Adds a descriptor of `file` to the caller and answers the notification with its number, in one step.
///
/// # Errors
/// `ENOENT` if the caller is gone; `EMFILE` if it has no free descriptor (the notification keeps waiting).
pub fn add_fd_send(
    listener: BorrowedFd<'_>,
    id: NotificationId,
    file: BorrowedFd<'_>,
    close_on_exec: bool,
) -> Result<i32, SysErrno> {
    add_fd(listener, id, file, (ADDFD_FLAG_SEND, 0), close_on_exec)
}

/// Adds a descriptor of `file` to the caller at the number `fd`, in place of the one there. The notification keeps
/// waiting.
///
/// # Errors
/// `ENOENT` if the caller is gone; `EBADF` if the number is above its limit.
pub fn set_fd(
    listener: BorrowedFd<'_>,
    id: NotificationId,
    file: BorrowedFd<'_>,
    fd: i32,
    close_on_exec: bool,
) -> Result<(), SysErrno> {
    add_fd(listener, id, file, (ADDFD_FLAG_SETFD, fd.cast_unsigned()), close_on_exec).map(drop)
}

fn add_fd(
    listener: BorrowedFd<'_>,
    id: NotificationId,
    file: BorrowedFd<'_>,
    (flags, newfd): (u32, u32),
    close_on_exec: bool,
) -> Result<i32, SysErrno> {
    let newfd_flags = if close_on_exec { libc::O_CLOEXEC as u32 } else { 0 };
    let srcfd = file.as_raw_fd() as u32;
    let request = libc::seccomp_notif_addfd { id, flags, srcfd, newfd, newfd_flags };
    // SAFETY: the kernel reads a `seccomp_notif_addfd`, which is a live one of this frame; `file` outlives
    // the call.
    unsafe { raw::addfd(listener.as_raw_fd(), &raw const request) }
}
