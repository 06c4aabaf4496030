//! Capabilities and securebits of the calling thread.
//!
//! Raw `capset` and `prctl` instead of the `caps` crate: that crate has no securebits, and it limits the
//! bounding set by a list of names, which lacks the capabilities that a newer kernel adds.

use libc::c_ulong;
use nix::errno::Errno;

/// `CAP_SETPCAP` (`include/uapi/linux/capability.h`), as a set.
pub const SETPCAP: u64 = 1 << 8;
/// `CAP_SYS_ADMIN`, as a set.
pub const SYS_ADMIN: u64 = 1 << 21;
/// Number of capabilities that a set of 64 bits can hold.
const CAPABILITIES: u32 = 64;
/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 bits.
const VERSION: u32 = 0x2008_0522;

/// Root gets no capabilities by being root, a change of the uid neither gives nor takes any or keeps them,
/// and none becomes ambient. All of it is locked.
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

/// Capabilities of the calling thread, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// In effect.
    pub effective: u64,
    /// Those that the thread may put into effect.
    pub permitted: u64,
}

/// Returns the calling thread's capabilities.
///
/// # Errors
/// As `capget(2)`.
pub fn capabilities() -> Result<Capabilities, Errno> {
    let mut header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: for version 3 the kernel reads and writes the header and writes two halves, all live in this
    // frame.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    let join = |of: fn(&Half) -> u32| u64::from(of(&halves[1])) << 32 | u64::from(of(&halves[0]));
    Ok(Capabilities { effective: join(|half| half.effective), permitted: join(|half| half.permitted) })
}

/// Makes `set` the calling thread's permitted and effective capabilities, and empties the inheritable ones.
///
/// # Errors
/// `EPERM` if `set` has a capability that is not permitted now.
pub fn set_capabilities(set: u64) -> Result<(), Errno> {
    let mut header = Header { version: VERSION, pid: 0 };
    let half = |bits: u64| Half { effective: bits as u32, permitted: bits as u32, inheritable: 0 };
    let halves = [half(set), half(set >> 32)];
    // SAFETY: for version 3 the kernel reads the header and two halves, all live in this frame.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) }).map(drop)
}

/// Drops every capability that is not in `keep` from the bounding set, up to the last one that this kernel
/// knows.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn limit_bounding_set(keep: u64) -> Result<(), Errno> {
    for capability in (0..CAPABILITIES).filter(|number| keep >> number & 1 == 0) {
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

/// Sets and locks the securebits, so that neither an exec by root nor a change of ids gives a capability.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`, or where they are locked in another state.
pub fn lock_securebits() -> Result<(), Errno> {
    prctl(libc::PR_SET_SECUREBITS, SECUREBITS as c_ulong)
}

fn prctl(option: libc::c_int, value: c_ulong) -> Result<(), Errno> {
    const NONE: c_ulong = 0;
    // SAFETY: the three options used here take an integer, and the kernel demands or ignores the zeroes
    // behind it; none takes a pointer.
    Errno::result(unsafe { libc::prctl(option, value, NONE, NONE, NONE) }).map(drop)
}
