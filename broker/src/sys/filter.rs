//! Installing a seccomp filter, and the one setting that its listener has.
//!
//! Everything here runs in a freshly forked child as well: no allocation, no lock, system calls alone.

#[cfg(test)]
pub mod probe;

use crate::sandbox::filter::Bpf;
use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// What a tenant's filter is installed with: a listener, and no signal but a fatal one gets between the receipt of a
/// notification and its answer.
const LISTENER_FLAGS: libc::c_ulong =
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (`include/uapi/linux/seccomp.h`, Linux 6.6).
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// The kernel has no `WAIT_KILLABLE_RECV`: without it a signal runs a call's side effects twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel has no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: Linux 5.19 or newer is needed")]
pub struct KernelTooOld;

/// Whether this kernel can install a tenant's filter at all: asked at the start, before there is a tenant, since
/// [`install`] has but `EINVAL` to say then.
///
/// # Errors
/// [`KernelTooOld`].
pub fn check_kernel() -> Result<(), KernelTooOld> {
    let nothing: *const libc::sock_fprog = std::ptr::null();
    // The kernel looks at the flags first: without a program it answers EFAULT if it knows them and EINVAL if not.
    // SAFETY: the kernel reads a `sock_fprog` at address 0 and writes nothing. Linux maps nothing there
    // (vm.mmap_min_addr), so the read fails and no filter is installed.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, LISTENER_FLAGS, nothing) };
    match Errno::result(result) {
        Err(Errno::EFAULT) => Ok(()),
        _ => Err(KernelTooOld),
    }
}

/// Installs a tenant's filter in the calling thread and returns its listener, which is close-on-exec.
///
/// A plain number and not an `OwnedFd`: from here on the caller's own calls wait for a supervisor, a forgotten close
/// too. `no_new_privs` is set only if the kernel demands it (`EACCES` without `CAP_SYS_ADMIN`), so that a
/// privileged tenant keeps its setuid programs.
///
/// # Errors
/// `EINVAL` on kernels that [`check_kernel`] refuses; `EBUSY` if the process is supervised already: the kernel allows
/// one listener. The thread is unfiltered then.
pub fn install(program: &Bpf) -> Result<RawFd, Errno> {
    match set_filter(program.instructions(), LISTENER_FLAGS) {
        Err(Errno::EACCES) => {
            nix::sys::prctl::set_no_new_privs()?;
            set_filter(program.instructions(), LISTENER_FLAGS)
        }
        other => other,
    }
}

/// Installs a filter without a listener in the calling thread, for good; the kernel logs what it denies.
/// `no_new_privs` is set first.
///
/// # Errors
/// As `seccomp(2)`.
pub fn confine(program: &Bpf) -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()?;
    set_filter(program.instructions(), libc::SECCOMP_FILTER_FLAG_LOG).map(drop)
}

/// Has the kernel wake the other side on this CPU when it hands over a notification or an answer. Without it a round
/// trip between unpinned processes takes either 3 or 50 microseconds.
///
/// # Errors
/// `EINVAL` before Linux 6.6: go on without it, and say so.
pub fn set_sync_wake_up(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: this request takes its argument by value (seccomp_notify_set_flags, kernel/seccomp.c, Linux 6.6); no
    // pointer is passed. A descriptor that is no listener gives ENOTTY.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
    Errno::result(result).map(drop)
}

fn set_filter(program: &[libc::sock_filter], flags: libc::c_ulong) -> Result<RawFd, Errno> {
    let Ok(len) = libc::c_ushort::try_from(program.len()) else { return Err(Errno::EINVAL) };
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions from `filter`, which is a live slice of that length, and writes
    // nothing (seccomp_prepare_user_filter, kernel/seccomp.c, Linux 6.12).
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    // A listener's number fits: descriptors are ints.
    Errno::result(result).map(|fd| fd as RawFd)
}
