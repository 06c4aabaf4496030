//! Forking the broker's own processes.

use super::process::exit_now;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{ForkResult, Pid, fork};
use std::os::fd::{BorrowedFd, RawFd};

/// Forks a child that runs `body` and exits with what it returns. What `body` owns is dropped in the parent: a
/// descriptor moved into it ends up in the child alone. The caller must be single-threaded, as every
/// process of this crate but the front is: the child may then do whatever the parent might.
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

/// Replaces the process by `path`. Returns only on failure. Allocates nothing.
#[must_use]
pub fn exec(path: &std::ffi::CStr, argv: &Pointers, envp: &Pointers) -> Errno {
    // SAFETY: `Pointers` are NULL-terminated arrays of NUL-terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Errno::last()
}

/// A NULL-terminated array of C strings, made before the fork so that nothing is allocated after it.
#[derive(Debug)]
pub struct Pointers {
    _strings: Vec<std::ffi::CString>,
    pointers: Vec<*const libc::c_char>,
}

impl From<Vec<std::ffi::CString>> for Pointers {
    fn from(strings: Vec<std::ffi::CString>) -> Self {
        let pointers = strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Pointers { _strings: strings, pointers }
    }
}

/// Sets the action of `signal` back to the default.
pub fn default_action(signal: nix::sys::signal::Signal) {
    // SAFETY: the default action runs no code of ours.
    // It fails only for signals that have no other action.
    let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigDfl) };
}

/// Ignores `signal`.
pub fn ignore(signal: nix::sys::signal::Signal) {
    // SAFETY: ignoring runs no code of ours.
    // It fails only for signals that cannot be ignored.
    let _ = unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) };
}

/// Forgets a `signal` that is pending.
pub fn discard(signal: nix::sys::signal::Signal) {
    use nix::sys::signal::{SigHandler, signal as set_action};
    // SAFETY: ignoring runs no code of ours, and the action that is set again is the one that was.
    // It fails only for signals that cannot be ignored.
    let _ = unsafe { set_action(signal, SigHandler::SigIgn).and_then(|before| set_action(signal, before)) };
}

/// Closes, in a child that never returns, its copy of a descriptor that the parent owns.
pub fn close_copy(fd: &impl std::os::fd::AsRawFd) {
    // SAFETY: the owner lives on a stack frame of the parent that this process never returns to, so the number is
    // not closed twice.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Moves `fds` to the numbers from `first` on, and keeps them open over an exec.
///
/// # Errors
/// As `fcntl(2)` and `dup3(2)`.
pub fn place(fds: &[BorrowedFd<'_>], first: RawFd) -> Result<(), Errno> {
    let numbers = first..first + fds.len() as RawFd;
    // First out of each other's way.
    let aside = |fd: &BorrowedFd<'_>| fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(numbers.end));
    let moved = fds.iter().map(aside).collect::<Result<Vec<RawFd>, _>>()?;
    for (from, to) in moved.into_iter().zip(numbers) {
        // SAFETY: integers only; the caller is about to exec, so nobody owns the number `to` any more.
        Errno::result(unsafe { libc::dup3(from, to, 0) })?;
    }
    Ok(())
}
