//! The loop of a worker: receive into the slot, dispatch, send.

use crate::assist::AssistError;
use crate::call::{Abi, Call};
use crate::context::Context;
use crate::dispatch::Dispatch;
use crate::service::{Opening, Outcome};
use crate::stopwatch::Stopwatch;
use crate::sys::listener::{self, Answer};
use crate::sys::socket::Channel;
use kcov_proto::message::Order;
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

/// What a worker is told to do: by the tenant's calls, and by the broker.
#[derive(Debug)]
pub struct Sources {
    /// The tenant's listener.
    pub listener: OwnedFd,
    /// The broker's orders.
    pub orders: Channel,
    /// Whether orders come while it serves, as the handlers have devices; else there are some at the start at most.
    pub has_devices: bool,
}

/// Serves notifications until there are no more.
///
/// # Errors
/// Always: the reason to end.
pub fn serve(
    sources: Sources,
    mut dispatch: Dispatch,
    mut context: Context,
) -> Result<std::convert::Infallible, ServeError> {
    let Sources { listener, mut orders, has_devices } = sources;
    let mut stopwatch = Stopwatch::new(context.slot());
    // What the last worker left undone.
    while !events(orders.as_fd())?.is_empty() {
        obey(&mut orders, listener.as_fd(), &mut dispatch, &mut context, &mut stopwatch)?;
    }
    loop {
        if has_devices && wait(listener.as_fd(), &orders, &context)? == Next::Order {
            obey(&mut orders, listener.as_fd(), &mut dispatch, &mut context, &mut stopwatch)?;
            continue;
        }
        receive(listener.as_fd(), &context)?;
        handle(listener.as_fd(), &mut dispatch, &mut context, &mut stopwatch)?;
    }
}

/// Handles the call that the slot shows, and answers it.
fn handle(
    listener: BorrowedFd<'_>,
    dispatch: &mut Dispatch,
    context: &mut Context,
    stopwatch: &mut Stopwatch,
) -> Result<(), ServeError> {
    let start = stopwatch.start();
    let call = Call::from_slot(context.slot());
    let outcome = dispatch.handle(&call, context)?;
    Stopwatch::stop(start, context);
    answer(listener, &call, outcome)
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Order,
    Notification,
}

/// Waits for a notification or an order. A worker whose handlers have no devices waits in the kernel's `RECV` itself,
/// which is a system call less.
fn wait(listener: BorrowedFd<'_>, orders: &Channel, context: &Context) -> Result<Next, ServeError> {
    let slot = context.slot();
    listener::clear_slot(slot);
    slot[slot::PHASE].store(Phase::Waiting as u64, Ordering::Relaxed);
    let mut fds = [orders.as_fd(), listener].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(ServeError::Listener { call: "poll", errno }),
        }
    }
    let ordered = fds[0].revents().is_some_and(|events| !events.is_empty());
    Ok(if ordered { Next::Order } else { Next::Notification })
}

/// Carries out one order. The slot shows an open, and a call that is handled once more, as it shows a notification.
fn obey(
    orders: &mut Channel,
    listener: BorrowedFd<'_>,
    dispatch: &mut Dispatch,
    context: &mut Context,
    stopwatch: &mut Stopwatch,
) -> Result<(), ServeError> {
    let (order, _) = orders.receive::<Order>().map_err(AssistError::Broker)?;
    match order {
        Order::Closed(files) => {
            // No call waits for it, but a handler that does not come to an end is ended all the same.
            context.slot()[slot::PHASE].store(Phase::Handling as u64, Ordering::Relaxed);
            dispatch.closed(&files, context);
        }
        Order::Open { id, tid, device, flags, file } => {
            let call = Call::open(id, tid, flags);
            call.show(context.slot());
            begin(context);
            let start = stopwatch.start();
            dispatch.open(&Opening { call, device, flags, file }, context)?;
            Stopwatch::stop(start, context);
        }
        Order::Call { id, tid, arch, number, args } => {
            Call { id, tid, abi: Abi::of(arch, number), number, args }.show(context.slot());
            begin(context);
            handle(listener, dispatch, context, stopwatch)?;
        }
    }
    Ok(())
}

/// Shows that what is in the slot is being handled.
fn begin(context: &Context) {
    let slot = context.slot();
    let taken = slot[slot::TAKEN].load(Ordering::Relaxed);
    slot[slot::TAKEN].store(taken.wrapping_add(1), Ordering::Relaxed);
    slot[slot::PHASE].store(Phase::Handling as u64, Ordering::Relaxed);
}

/// Waits for the next notification; it is in the slot afterwards.
fn receive(listener: BorrowedFd<'_>, context: &Context) -> Result<(), ServeError> {
    let slot = context.slot();
    slot[slot::PHASE].store(Phase::Waiting as u64, Ordering::Relaxed);
    loop {
        match listener::receive_into_slot(listener, slot) {
            Ok(()) => break,
            Err(Errno::EINTR) => {}
            // The caller died between the wake-up and the copy; or nobody is left, and every RECV says so.
            Err(Errno::ENOENT) if is_used(listener)? => {}
            Err(Errno::ENOENT) => return Err(ServeError::Unused),
            Err(errno) => return Err(ServeError::Listener { call: "SECCOMP_IOCTL_NOTIF_RECV", errno }),
        }
    }
    begin(context);
    Ok(())
}

/// Whether any process is left under the filter.
fn is_used(listener: BorrowedFd<'_>) -> Result<bool, ServeError> {
    Ok(!events(listener)?.contains(PollFlags::POLLHUP))
}

/// What a poll shows at once.
fn events(fd: BorrowedFd<'_>) -> Result<PollFlags, ServeError> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => return Ok(fds[0].revents().unwrap_or(PollFlags::empty())),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(ServeError::Listener { call: "poll", errno }),
        }
    }
}

/// Sends the answer. A caller that is gone meanwhile needs none.
fn answer(listener: BorrowedFd<'_>, call: &Call, outcome: Outcome) -> Result<(), ServeError> {
    let answer = match outcome {
        Outcome::Value(value) => Answer::Value(value),
        Outcome::Fail(errno) => Answer::Fail(errno),
        Outcome::Continue | Outcome::Pass => Answer::Continue,
        Outcome::Answered => return Ok(()),
    };
    listener::send(listener, call.id, answer)
        .map(drop)
        .map_err(|errno| ServeError::Listener { call: "SECCOMP_IOCTL_NOTIF_SEND", errno })
}
