//! The system calls of the jail that no safe wrapper has: capabilities, securebits, filters, closing descriptors.
//!
//! Raw `capset` and `prctl` and not the `caps` crate: that crate knows no securebits, and empties the bounding set by
//! a list of names, which misses what a newer kernel adds.

#[cfg(test)]
pub mod probe;

use libc::c_ulong;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

/// Number of `CAP_SETPCAP` (`include/uapi/linux/capability.h`).
pub const CAP_SETPCAP: u32 = 8;
/// Number of `CAP_SYS_ADMIN`.
pub const CAP_SYS_ADMIN: u32 = 21;
/// Numbers that a set of 64 bits can hold.
const CAPABILITIES: u32 = 64;

/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits.
const VERSION: u32 = 0x2008_0522;

/// What the jail locks: root has no capabilities of its own, changing the uid neither gives nor takes any, none
/// outlives such a change, none becomes ambient.
const SECUREBITS: libc::c_int = libc::SECBIT_NOROOT
    | libc::SECBIT_NOROOT_LOCKED
    | libc::SECBIT_NO_SETUID_FIXUP
    | libc::SECBIT_NO_SETUID_FIXUP_LOCKED
    | libc::SECBIT_KEEP_CAPS_LOCKED
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE
    | libc::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

/// `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// `struct __user_cap_data_struct`: one half of each set.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether the calling thread has a capability in effect.
///
/// # Errors
/// As `capget(2)`.
pub fn has_capability(capability: u32) -> Result<bool, Errno> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: for version 3 the kernel reads and writes the header and writes two halves, all live in this frame.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    Errno::result(result)?;
    let [low, high] = halves.map(|half| u64::from(half.effective));
    Ok((high << 32 | low) >> capability & 1 == 1)
}

/// Makes `set` the calling thread's permitted and effective capabilities; the inheritable ones become none.
///
/// # Errors
/// `EPERM` if it holds one that is not permitted now.
pub fn set_capabilities(set: u64) -> Result<(), Errno> {
    let mut header = Header { version: VERSION, pid: 0 };
    let half = |bits: u64| Half { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let halves = [half(set), half(set >> 32)];
    // SAFETY: for version 3 the kernel reads the header and two halves, all live in this frame.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) }).map(drop)
}

/// Takes every capability out of the bounding set, up to the last that this kernel knows.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn drop_bounding_set() -> Result<(), Errno> {
    for capability in 0..CAPABILITIES {
        match prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability)) {
            // Past the last one (cap_prctl_drop, security/commoncap.c).
            Err(Errno::EINVAL) => break,
            result => result?,
        }
    }
    Ok(())
}

/// Empties the ambient set.
///
/// # Errors
/// As `prctl(2)`.
pub fn clear_ambient_set() -> Result<(), Errno> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong)
}

/// Sets and locks the securebits: root has no capabilities of its own, and no change of ids gives any.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`, or where they are locked otherwise.
pub fn lock_securebits() -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, SECUREBITS as c_ulong)
}

fn prctl(option: libc::c_int, value: c_ulong) -> Result<(), Errno> {
    const NONE: c_ulong = 0;
    // SAFETY: the three options used here take an integer, and the kernel demands zeroes behind it; none has a pointer.
    Errno::result(unsafe { libc::prctl(option, value, NONE, NONE, NONE) }).map(drop)
}

/// Installs a filter in the calling thread.
///
/// # Errors
/// As `seccomp(2)`: `EACCES` without `no_new_privs`.
pub fn install_filter(program: &[libc::sock_filter]) -> Result<(), Errno> {
    let Ok(len) = libc::c_ushort::try_from(program.len()) else { return Err(Errno::EINVAL) };
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    const NO_FLAGS: c_ulong = 0;
    // SAFETY: the kernel reads `len` instructions from `filter`, which is a live slice of that length, and writes
    // nothing (seccomp_prepare_user_filter, kernel/seccomp.c, Linux 6.12).
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, NO_FLAGS, &raw const program)
    };
    Errno::result(result).map(drop)
}

/// Closes every descriptor that is not in `keep`, and opens `/dev/null` as each of 0, 1 and 2 that is not.
///
/// Whatever owned one of the others is left with a number that is no longer its own: called once, before the program
/// has opened anything that it does not keep.
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

/// The lowest free number is what `open` gives: the streams are filled once it gives one above them.
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
    // SAFETY: three integers; that no live owner has a number of the range is `close_others`' condition.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, NO_FLAGS) }).map(drop)
}
