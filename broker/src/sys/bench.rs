//! System calls of the benchmark: the listener of the bare supervisor, a client's view of a KCOV device, and
//! a call whose supervisor reads or writes memory.

pub mod device;
pub mod listener;

use nix::errno::Errno;

/// Calls `getppid` with `memory` in argument registers, which the kernel ignores, and `write` as the third
/// argument.
///
/// # Errors
/// As the supervisor decides.
pub fn call_with_memory(memory: &mut [u8], write: bool) -> nix::Result<()> {
    // SAFETY: the kernel uses no argument of this call. A supervisor writes within `memory`, which is
    // borrowed for as long as the call lasts.
    let result = unsafe {
        libc::syscall(libc::SYS_getppid, memory.as_mut_ptr(), memory.len(), libc::c_long::from(write))
    };
    Errno::result(result).map(drop)
}
