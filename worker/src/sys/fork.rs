//! Forking workers from the zygote.

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid, fork};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Forks a child that runs `body` and exits with what it returns. The zygote has one thread, so the child may do
/// whatever the parent might.
///
/// # Errors
/// As `fork(2)`.
pub fn child(body: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    // SAFETY: the process has one thread (see above), so no lock is held by a thread that the child lacks.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = body();
            // SAFETY: ends the process without the exit handlers that belong to the parent.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Closes a descriptor by number: in the child, the copy of one that the parent owns.
pub fn close(number: RawFd) {
    // SAFETY: the child never touches the parent's owner of the number, which is on a stack that it never returns to.
    unsafe { libc::close(number) };
}

/// Makes `output` the standard output and error of this process.
///
/// # Errors
/// As `dup3(2)`.
pub fn redirect(output: &OwnedFd) -> Result<(), Errno> {
    for number in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: integers; nobody owns the numbers of the standard streams.
        Errno::result(unsafe { libc::dup3(output.as_raw_fd(), number, 0) })?;
    }
    Ok(())
}
