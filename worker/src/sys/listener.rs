//! The seccomp listener as a worker uses it: receive and send (`seccomp_unotify(2)`).

use kcov_proto::slot;
use kcov_proto::sync::{AtomicU64, Ordering};
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};

mod raw {
    nix::ioctl_readwrite!(recv, b'!', 0, libc::seccomp_notif);
    nix::ioctl_readwrite!(send, b'!', 1, libc::seccomp_notif_resp);
}

const _: () = assert!(size_of::<libc::seccomp_notif>() == slot::NOTIFICATION_WORDS * 8);

/// Shows that nothing is in flight. Returns the words of the notification.
pub fn clear(slot: &[AtomicU64]) -> &[AtomicU64] {
    let words = &slot[slot::NOTIFICATION..slot::NOTIFICATION + slot::NOTIFICATION_WORDS];
    for word in words {
        // The id goes first, so that the broker never sees an old id with a new call.
        word.store(0, Ordering::Relaxed);
    }
    words
}

/// Waits for a notification and receives it straight into the slot.
///
/// # Errors
/// `ENOENT` if the caller died in between or nobody uses the filter any more, `EINTR` on a signal.
pub fn receive(listener: BorrowedFd<'_>, slot: &[AtomicU64]) -> Result<(), Errno> {
    // The kernel wants zeroes.
    let words = clear(slot);
    let notification = words.as_ptr().cast_mut().cast::<libc::seccomp_notif>();
    // SAFETY: the words are as long as the structure (checked above) and writable shared memory: the kernel copies
    // into them as any other process that shares the slot might.
    unsafe { raw::recv(listener.as_raw_fd(), notification) }?;
    Ok(())
}

/// Answers a notification: `Ok(false)` if it waits no longer.
///
/// # Errors
/// Anything but that.
pub fn send(listener: BorrowedFd<'_>, id: u64, value: i64, error: i32, go_on: bool) -> Result<bool, Errno> {
    let flags = if go_on { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
    let mut response = libc::seccomp_notif_resp { id, val: value, error, flags };
    // SAFETY: the kernel reads and writes a `seccomp_notif_resp`, which is a live one of this frame.
    match unsafe { raw::send(listener.as_raw_fd(), &raw mut response) } {
        Ok(_) => Ok(true),
        Err(Errno::ENOENT | Errno::EINPROGRESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}
