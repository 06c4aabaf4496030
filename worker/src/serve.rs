//! The main loop of a worker: receive into the slot, dispatch, send the answer.

use crate::assist::AssistError;
use crate::call::{Abi, Call};
use crate::context::Context;
use crate::dispatch::Dispatch;
use crate::outcome::Outcome;
use crate::service::DeviceOpen;
use crate::stopwatch::Stopwatch;
use crate::sys::listener;
use crate::sys::shared::SharedWords;
use crate::sys::socket::Channel;
use kcov_proto::message::{Order, Response};
use kcov_proto::slot::{self, Phase};
use kcov_proto::sync::Ordering;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Why a worker ends.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The last process under the filter has exited.
    #[error("the last process of the tenant has exited")]
    NoProcess,
    /// The broker is gone.
    #[error(transparent)]
    Request(#[from] AssistError),
    /// A system call on the listener failed.
    #[error("{call} on the listener: {errno}")]
    Listener {
        /// Name of the call.
        call: &'static str,
        /// Its errno.
        errno: Errno,
    },
}

/// Where the work of a worker comes from.
#[derive(Debug)]
pub struct Sources {
    /// The tenant's seccomp listener.
    pub listener: OwnedFd,
    /// Orders of the broker.
    pub orders: Channel,
    /// Whether orders can arrive at any time, because handlers have devices. Otherwise they arrive only at
    /// the start.
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
    // Calls and opens that the previous worker left unfinished.
    while !pending(orders.as_fd())?.is_empty() {
        carry_out(&mut orders, listener.as_fd(), &mut dispatch, &mut context, &mut stopwatch)?;
    }
    loop {
        if has_devices && wait(listener.as_fd(), &orders, &context)? == Next::Order {
            carry_out(&mut orders, listener.as_fd(), &mut dispatch, &mut context, &mut stopwatch)?;
            continue;
        }
        receive(listener.as_fd(), &context)?;
        handle(listener.as_fd(), &mut dispatch, &mut context, &mut stopwatch)?;
    }
}

/// Handles the call in the slot, and answers it.
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

/// What to handle next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Order,
    Notification,
}

/// Waits for a notification or an order. A worker whose handlers have no devices skips this and waits in
/// `SECCOMP_IOCTL_NOTIF_RECV`, which saves a system call.
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

/// Carries out one order. An open, or a call that is handled again, is put into the slot like a notification.
fn carry_out(
    orders: &mut Channel,
    listener: BorrowedFd<'_>,
    dispatch: &mut Dispatch,
    context: &mut Context,
    stopwatch: &mut Stopwatch,
) -> Result<(), ServeError> {
    let (order, _) = orders.receive::<Order>().map_err(AssistError::Broker)?;
    match order {
        Order::Closed(files) => {
            // No caller waits for this, but the phase makes the broker's deadline apply to a handler that
            // hangs here.
            context.slot()[slot::PHASE].store(Phase::Handling as u64, Ordering::Relaxed);
            dispatch.closed(&files, context);
        }
        Order::Open { id, tid, device, flags, file } => {
            let call = Call::open(id, tid, flags);
            call.show(context.slot());
            mark_handling(context);
            let start = stopwatch.start();
            dispatch.open(&DeviceOpen { call, device, flags, file }, context)?;
            Stopwatch::stop(start, context);
        }
        Order::Call { id, tid, arch, number, args } => {
            Call { id, tid, abi: Abi::of(arch, number), number, args }.show(context.slot());
            mark_handling(context);
            handle(listener, dispatch, context, stopwatch)?;
        }
    }
    Ok(())
}

/// Marks the contents of the slot as being handled.
fn mark_handling(context: &Context) {
    let slot = context.slot();
    let taken = slot[slot::TAKEN].load(Ordering::Relaxed);
    slot[slot::TAKEN].store(taken.wrapping_add(1), Ordering::Relaxed);
    slot[slot::PHASE].store(Phase::Handling as u64, Ordering::Relaxed);
    note_thread(slot);
}

/// Shows which thread is served, if it is another one than before.
fn note_thread(slot: &SharedWords) {
    let recent = |changes: u64| slot::RECENT + changes as usize % slot::RECENT_WORDS;
    let changes = slot[slot::CHANGES].load(Ordering::Relaxed);
    let tid = slot[slot::PID].load(Ordering::Relaxed) & u64::from(u32::MAX);
    if slot[recent(changes)].load(Ordering::Relaxed) != tid {
        slot[slot::CHANGES].store(changes.wrapping_add(1), Ordering::Relaxed);
        slot[recent(changes.wrapping_add(1))].store(tid, Ordering::Relaxed);
    }
}

/// Waits for the next notification and receives it into the slot.
fn receive(listener: BorrowedFd<'_>, context: &Context) -> Result<(), ServeError> {
    let slot = context.slot();
    slot[slot::PHASE].store(Phase::Waiting as u64, Ordering::Relaxed);
    loop {
        match listener::receive_into_slot(listener, slot) {
            Ok(()) => break,
            Err(Errno::EINTR) => {}
            // ENOENT has two causes: the caller died between wake-up and copy, or no process is left and
            // every RECV fails so.
            Err(Errno::ENOENT) if has_processes(listener)? => {}
            Err(Errno::ENOENT) => return Err(ServeError::NoProcess),
            Err(errno) => return Err(ServeError::Listener { call: "SECCOMP_IOCTL_NOTIF_RECV", errno }),
        }
    }
    mark_handling(context);
    Ok(())
}

/// Returns whether any process is left under the filter.
fn has_processes(listener: BorrowedFd<'_>) -> Result<bool, ServeError> {
    Ok(!pending(listener)?.contains(PollFlags::POLLHUP))
}

/// The events that are pending on `fd`, without waiting.
fn pending(fd: BorrowedFd<'_>) -> Result<PollFlags, ServeError> {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(_) => return Ok(fds[0].revents().unwrap_or(PollFlags::empty())),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(ServeError::Listener { call: "poll", errno }),
        }
    }
}

/// Sends the answer. It is not an error if the caller has died meanwhile.
fn answer(listener: BorrowedFd<'_>, call: &Call, outcome: Outcome) -> Result<(), ServeError> {
    let response = match outcome {
        Outcome::Value(value) => Response::Value(value),
        Outcome::Fail(errno) => Response::Fail(errno),
        Outcome::Continue | Outcome::Pass => Response::Continue,
        Outcome::Answered => return Ok(()),
    };
    listener::send(listener, call.id, response)
        .map(drop)
        .map_err(|errno| ServeError::Listener { call: "SECCOMP_IOCTL_NOTIF_SEND", errno })
}
