//! The filters of the broker's processes: a tenant's, which has a listener, and those that confine the broker
//! itself.
//!
//! [`install`] also runs in a freshly forked child: it makes system calls only and allocates nothing.

use kcov_sys::filter::{Bpf, install as set_filter};
use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Flags of a tenant's filter: it has a listener, and only a fatal signal interrupts a call between the
/// receipt of its notification and the answer.
const LISTENER_FLAGS: libc::c_ulong =
    libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (`include/uapi/linux/seccomp.h`, Linux 6.6).
const SYNC_WAKE_UP: libc::c_ulong = 1;

/// The kernel lacks `WAIT_KILLABLE_RECV`, without which a signal runs a call's side effects twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this kernel has no SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: Linux 5.19 or newer is needed")]
pub struct KernelTooOld;

/// Checks that this kernel can install a tenant's filter. To be called before there is a tenant: [`install`]
/// can only return `EINVAL`.
///
/// # Errors
/// [`KernelTooOld`].
pub fn check_kernel() -> Result<(), KernelTooOld> {
    let nothing: *const libc::sock_fprog = std::ptr::null();
    // The kernel checks the flags first: without a program it returns EFAULT if it knows them and EINVAL if
    // not. SAFETY: the kernel reads a `sock_fprog` at address 0 and writes nothing. Linux maps nothing there
    // (vm.mmap_min_addr), so the read fails and no filter is installed.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, LISTENER_FLAGS, nothing) };
    match Errno::result(result) {
        Err(Errno::EFAULT) => Ok(()),
        _ => Err(KernelTooOld),
    }
}

/// Installs a tenant's filter in the calling thread and returns its listener, which is close-on-exec and a
/// plain number: see [`kcov_sys::filter::install`].
///
/// `no_new_privs` is set only if the kernel demands it (`EACCES` without `CAP_SYS_ADMIN`), so that a
/// privileged tenant keeps its setuid programs.
///
/// # Errors
/// `EINVAL` on kernels that [`check_kernel`] refuses; `EBUSY` if the process has a supervisor already: the
/// kernel allows one listener. The thread is unfiltered then.
pub fn install(program: &Bpf) -> Result<RawFd, Errno> {
    match set_filter(program, LISTENER_FLAGS) {
        Err(Errno::EACCES) => set_no_new_privs().and_then(|()| set_filter(program, LISTENER_FLAGS)),
        other => other,
    }
}

/// Installs a filter without a listener in the calling thread, permanently; the kernel logs the calls that it
/// denies. Sets `no_new_privs` first. Rules with [`OWN_PROCESS`](kcov_sys::rules::OWN_PROCESS) apply to the
/// calling process.
///
/// # Errors
/// As `seccomp(2)`.
pub fn confine(program: &Bpf) -> Result<(), Errno> {
    set_no_new_privs()?;
    let mut program = program.clone();
    program.set_own_process();
    set_filter(&program, libc::SECCOMP_FILTER_FLAG_LOG).map(drop)
}

/// Makes the kernel wake the other side on the same CPU when it passes on a notification or an answer.
/// Without this flag a round trip between unpinned processes takes either 3 or 50 microseconds.
///
/// # Errors
/// `EINVAL` before Linux 6.6: everything works without it, but slower.
pub fn set_sync_wake_up(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: this request takes its argument by value (seccomp_notify_set_flags, kernel/seccomp.c, Linux
    // 6.6); no pointer is passed. A descriptor that is not a listener gives ENOTTY.
    let result =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
    Errno::result(result).map(drop)
}

/// Installs a filter that allows every call, with a listener, in the calling process, permanently. Returns
/// whether the kernel knows `SYNC_WAKE_UP`.
///
/// # Errors
/// As [`install`]: `EBUSY` if the process has a supervisor already.
pub fn try_listener() -> Result<bool, Errno> {
    let listener = install(&Bpf::allow_all())?;
    // SAFETY: the kernel has just made this descriptor for this process, and no owner has its number. Its
    // close is not a call that waits: the program notifies nothing.
    let listener = unsafe { OwnedFd::from_raw_fd(listener) };
    Ok(set_sync_wake_up(listener.as_fd()).is_ok())
}
