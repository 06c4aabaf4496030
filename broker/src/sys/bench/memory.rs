//! A call that hands memory to whoever supervises it.

use nix::errno::Errno;

/// `getppid` with `memory` in argument registers that the call does not have, and whether it is to be written to.
///
/// # Errors
/// As the supervisor says.
pub fn call_with(memory: &mut [u8], write: bool) -> nix::Result<()> {
    // SAFETY: the kernel looks at no argument of this call. A supervisor writes within `memory`, which is borrowed for as
    // long as the call lasts.
    let result = unsafe {
        libc::syscall(libc::SYS_getppid, memory.as_mut_ptr(), memory.len(), libc::c_long::from(write))
    };
    Errno::result(result).map(drop)
}
