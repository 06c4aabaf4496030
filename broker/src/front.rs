//! The front: the process that the user's shell sees.
//!
//! It stays in the job that the shell made, passes signals on, stops when the command stops, and ends with the
//! command's status. It holds no privilege that matters: a socket to the broker is all it has.

use crate::broker::{FrontEvent, FrontOrder};
use crate::sys::socket::Channel;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::os::fd::OwnedFd;

/// Signals that go on to the command.
const FORWARDED: [i32; 9] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGTSTP, SIGWINCH];
/// Exit status when the broker itself fails.
pub const BROKER_FAILED: u8 = 125;

/// Waits for the command to end. Returns the exit status.
pub fn wait(socket: OwnedFd, broker: Pid) -> u8 {
    let orders = socket.try_clone();
    match (orders, SignalsInfo::<WithOrigin>::new(FORWARDED)) {
        (Ok(orders), Ok(signals)) => {
            std::thread::spawn(move || forward(signals, orders.into()));
        }
        (Err(error), _) | (_, Err(error)) => eprintln!("kcov-broker: signals are not passed on: {error}"),
    }
    let mut channel = Channel::from(socket);
    loop {
        match channel.receive::<FrontEvent>() {
            Ok((FrontEvent::Running { .. }, _)) => {}
            Ok((FrontEvent::Stopped, _)) => {
                // The shell sees the job stop, and may continue it.
                let _ = raise(Signal::SIGSTOP);
            }
            Ok((FrontEvent::Ended { status, last }, _)) => {
                if last {
                    // Nothing of this run is left when the shell gets its prompt back.
                    let _ = waitpid(broker, None);
                }
                return status;
            }
            Ok((FrontEvent::Failed { message, status }, _)) => {
                eprintln!("kcov-broker: {message}");
                let _ = waitpid(broker, None);
                return status;
            }
            Err(error) => {
                eprintln!("kcov-broker: the broker ended before the command did ({error})");
                return BROKER_FAILED;
            }
        }
    }
}

/// Passes signals on for as long as the process lives.
fn forward(mut signals: SignalsInfo<WithOrigin>, mut broker: Channel) {
    for origin in &mut signals {
        if reaches_command(&origin) {
            continue;
        }
        if broker.send(&FrontOrder::Signal(origin.signal), &[]).is_err() {
            return;
        }
    }
}

/// Whether the signal came from the terminal, whose whole foreground job gets it: the command has it already.
fn reaches_command(origin: &Origin) -> bool {
    // SIGCONT continues a command in a job of its own too, and twice is as good as once.
    origin.signal != SIGCONT && matches!(origin.cause, Cause::Kernel)
}
