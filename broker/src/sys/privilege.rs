//! Capabilities and descriptors of the calling process, where no safe wrapper has them.
//!
//! Raw `capset` and `prctl` and not the `caps` crate: that crate limits the bounding set by a list of names, which
//! misses what a newer kernel adds.

use libc::c_ulong;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

/// `CAP_SETPCAP` (`include/uapi/linux/capability.h`), as a set.
pub const SETPCAP: u64 = 1 << 8;
/// Numbers that a set of 64 bits can hold.
const CAPABILITIES: u32 = 64;
/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits.
const VERSION: u32 = 0x2008_0522;

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

/// Capabilities of the calling thread, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// In effect.
    pub effective: u64,
    /// What may be in effect.
    pub permitted: u64,
}

/// The calling thread's capabilities.
///
/// # Errors
/// As `capget(2)`.
pub fn capabilities() -> Result<Capabilities, Errno> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: for version 3 the kernel reads and writes the header and writes two halves, all live in this frame.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    let join = |of: fn(&Half) -> u32| u64::from(of(&halves[1])) << 32 | u64::from(of(&halves[0]));
    Ok(Capabilities { effective: join(|half| half.effective), permitted: join(|half| half.permitted) })
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

/// Takes every capability that is not in `keep` out of the bounding set, up to the last that this kernel knows.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn limit_bounding_set(keep: u64) -> Result<(), Errno> {
    const NONE: c_ulong = 0;
    for capability in (0..CAPABILITIES).filter(|number| keep >> number & 1 == 0) {
        // SAFETY: this option takes an integer, and the kernel ignores what is behind it; no pointer.
        let result =
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability), NONE, NONE, NONE) };
        match Errno::result(result) {
            // Past the last one (cap_prctl_drop, security/commoncap.c).
            Err(Errno::EINVAL) => break,
            result => result.map(drop)?,
        }
    }
    Ok(())
}

/// Closes every descriptor that is not in `keep`, and opens `/dev/null` as each of 0, 1 and 2 that is not.
///
/// Whatever owned one of the others is left with a number that is no longer its own; see
/// [`crate::sandbox::confine::keep_only`].
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
