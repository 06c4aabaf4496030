//! Becoming the zygote: an exec of the worker program with one socket and no environment.

use crate::confine;
use crate::launch::Launch;
use crate::sys::fork::{self, Pointers};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

/// Descriptor number of the zygote's socket.
const SOCKET: i32 = 3;

/// Execs the worker program as the zygote. Returns the exit status if that fails.
pub fn exec(descriptors: &[OwnedFd], launch: &Launch) -> i32 {
    match try_exec(descriptors, launch) {
        Ok(never) => match never {},
        Err(_) => 126,
    }
}

fn try_exec(descriptors: &[OwnedFd], launch: &Launch) -> Result<std::convert::Infallible, Errno> {
    let socket = descriptors.first().ok_or(Errno::EBADF)?;
    let argv = [
        "kcov-worker".to_owned(),
        "zygote".to_owned(),
        format!("--uid={}", launch.jail_id),
        format!("--parent={}", nix::unistd::getppid()),
    ];
    let argv = argv.into_iter().filter_map(|argument| CString::new(argument).ok());
    let argv: Vec<CString> = argv.chain(launch.handlers.iter().cloned()).collect();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    // The user's descriptors are for the command.
    confine::keep_only(&[socket.as_fd()]).map_err(|_| Errno::EIO)?;
    fork::place(socket, SOCKET)?;
    Err(fork::exec(&launch.worker, &Pointers::from(argv), &Pointers::from(Vec::new())))
}
