//! Forking and executing processes.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigHandler, Signal, signal as set_action};
use nix::unistd::{ForkResult, Pid, fork};
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Forks a child that runs `body` and exits with the status that it returns.
///
/// The parent drops what `body` owns, so a descriptor that is moved into it stays open in the child only. The
/// caller must have one thread: then the child may do whatever the parent may.
///
/// # Errors
/// As `fork(2)`.
pub fn child(body: impl FnOnce() -> i32) -> Result<Pid, Errno> {
    // SAFETY: the process has one thread (see above), so no lock is held by a thread that the child lacks.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => exit_now(body()),
    }
}

/// Ends this process without running exit handlers, which a forked child inherited from its parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes an integer, touches no memory and does not return.
    unsafe { libc::_exit(status) }
}

/// Replaces the program of this process by `path`. Returns only on failure. Allocates nothing.
#[must_use]
pub fn exec(path: &CStr, argv: &Pointers, envp: &Pointers) -> Errno {
    // SAFETY: `Pointers` are NULL-terminated arrays of NUL-terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Errno::last()
}

/// A NULL-terminated array of C strings, built before the fork so that the child need not allocate.
#[derive(Debug)]
pub struct Pointers {
    _strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl From<Vec<CString>> for Pointers {
    fn from(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Pointers { _strings: strings, pointers }
    }
}

/// Restores the default action of `signal`.
pub fn default_action(signal: Signal) {
    // SAFETY: the default action runs no code of this program.
    // It fails only for signals that have no other action.
    let _ = unsafe { set_action(signal, SigHandler::SigDfl) };
}

/// Ignores `signal`.
pub fn ignore(signal: Signal) {
    // SAFETY: ignoring runs no code of this program.
    // It fails only for signals that cannot be ignored.
    let _ = unsafe { set_action(signal, SigHandler::SigIgn) };
}

/// Discards a pending `signal`.
pub fn discard(signal: Signal) {
    // SAFETY: ignoring runs no code of this program, and the second call restores the action that was set
    // before. It fails only for signals that cannot be ignored.
    let _ = unsafe { set_action(signal, SigHandler::SigIgn).and_then(|before| set_action(signal, before)) };
}

/// Closes a child's copy of a descriptor that the parent owns. The child must never return to the owner.
pub fn close_copy(fd: &impl AsRawFd) {
    // SAFETY: the owner is on a stack frame of the parent that the child does not return to, so the number is
    // not closed twice.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Makes `output` the standard output and standard error of this process.
///
/// # Errors
/// As `dup3(2)`.
pub fn redirect_output(output: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: integers; no owner has the numbers of the standard streams.
    [libc::STDOUT_FILENO, libc::STDERR_FILENO]
        .into_iter()
        .try_for_each(|number| Errno::result(unsafe { libc::dup3(output.as_raw_fd(), number, 0) }).map(drop))
}

/// Moves `fds` to the numbers from `first` on, and keeps them open across an exec.
///
/// The caller must be about to exec: owners of these numbers lose them.
///
/// # Errors
/// As `fcntl(2)` and `dup3(2)`.
pub fn place(fds: &[BorrowedFd<'_>], first: RawFd) -> Result<(), Errno> {
    let numbers = first..first + fds.len() as RawFd;
    // First above all of the target numbers, so that none overwrites another.
    let aside = |fd: &BorrowedFd<'_>| fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(numbers.end));
    let moved = fds.iter().map(aside).collect::<Result<Vec<RawFd>, _>>()?;
    for (from, to) in moved.into_iter().zip(numbers) {
        // SAFETY: integers only; the caller is about to exec, so no owner uses the number `to` again.
        Errno::result(unsafe { libc::dup3(from, to, 0) })?;
    }
    Ok(())
}
