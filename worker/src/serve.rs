//! The loop of a worker: receive into the slot, dispatch, send.

use crate::assist::AssistError;
use crate::call::Call;
use crate::context::Context;
use crate::dispatch::Dispatch;
use crate::handler::Outcome;
use crate::sys::listener;
use kcov_proto::slot::{self, Phase};
use kcov_proto::sync::Ordering;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The last process under the filter is gone: nothing is left to serve.
    #[error("the last process of the tenant is gone")]
    Unused,
    /// The broker is gone.
    #[error(transparent)]
    Assist(#[from] AssistError),
    /// A system call on the listener failed.
    #[error("{call} on the listener: {errno}")]
    Listener {
        /// Its name.
        call: &'static str,
        /// What it said.
        errno: Errno,
    },
}

/// Serves notifications until there are no more.
///
/// # Errors
/// Always: the reason to end.
pub fn serve(
    listener: &OwnedFd,
    mut dispatch: Dispatch,
    mut context: Context,
) -> Result<std::convert::Infallible, ServeError> {
    loop {
        receive(listener.as_fd(), &context)?;
        let call = Call::from_slot(context.slot());
        let outcome = dispatch.handle(&call, &mut context)?;
        answer(listener.as_fd(), &call, outcome)?;
    }
}

/// Waits for the next notification; it is in the slot afterwards.
fn receive(listener: BorrowedFd<'_>, context: &Context) -> Result<(), ServeError> {
    let slot = context.slot();
    slot[slot::PHASE].store(Phase::Waiting as u64, Ordering::Relaxed);
    loop {
        match listener::receive(listener, slot) {
            Ok(()) => break,
            Err(Errno::EINTR) => {}
            // The caller died between the wake-up and the copy; or nobody is left, and every RECV says so.
            Err(Errno::ENOENT) if is_used(listener)? => {}
            Err(Errno::ENOENT) => return Err(ServeError::Unused),
            Err(errno) => return Err(ServeError::Listener { call: "SECCOMP_IOCTL_NOTIF_RECV", errno }),
        }
    }
    let taken = slot[slot::TAKEN].load(Ordering::Relaxed);
    slot[slot::TAKEN].store(taken.wrapping_add(1), Ordering::Relaxed);
    slot[slot::PHASE].store(Phase::Handling as u64, Ordering::Relaxed);
    Ok(())
}

/// Whether any process is left under the filter.
fn is_used(listener: BorrowedFd<'_>) -> Result<bool, ServeError> {
    let mut fds = [PollFd::new(listener, PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO) {
        Ok(_) => Ok(!fds[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(ServeError::Listener { call: "poll", errno }),
    }
}

/// Sends the answer. A caller that is gone meanwhile needs none.
fn answer(listener: BorrowedFd<'_>, call: &Call, outcome: Outcome) -> Result<(), ServeError> {
    let (value, error, go_on) = match outcome {
        Outcome::Value(value) => (value, 0, false),
        Outcome::Fail(errno) => (0, -errno.0, false),
        Outcome::Continue => (0, 0, true),
        Outcome::Answered => return Ok(()),
    };
    listener::send(listener, call.id, value, error, go_on)
        .map(drop)
        .map_err(|errno| ServeError::Listener { call: "SECCOMP_IOCTL_NOTIF_SEND", errno })
}
