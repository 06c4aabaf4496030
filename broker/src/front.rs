//! The front: the process that the user's shell sees.
//!
//! It stays in the job that the shell made, passes signals on, stops when the command stops, and ends with the
//! command's status. It holds no privilege that matters: a socket to the broker and a hold on the spawner are all it has.

use crate::broker::{FrontEvent, FrontOrder};
use crate::launch::OnBrokerDeath;
use crate::sys::pidfd;
use crate::sys::process::pidfd_open;
use crate::sys::socket::Channel;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// Signals that go on to the command.
const FORWARDED: [i32; 9] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGTSTP, SIGWINCH];
/// Exit status when the broker itself fails.
pub const BROKER_FAILED: u8 = 125;

/// Waits for the command to end. Returns the exit status.
pub fn wait(socket: OwnedFd, broker: Pid, on_broker_death: OnBrokerDeath) -> u8 {
    let orders = socket.try_clone();
    let left_alone = Arc::new(OnceLock::new());
    match (orders, SignalsInfo::<WithOrigin>::new(FORWARDED)) {
        (Ok(orders), Ok(signals)) => {
            let left_alone = left_alone.clone();
            std::thread::spawn(move || forward(signals, orders.into(), &left_alone));
        }
        (Err(error), _) | (_, Err(error)) => eprintln!("kcov-broker: signals are not passed on: {error}"),
    }
    let mut channel = Channel::from(socket);
    let mut spawner = None;
    loop {
        match channel.receive::<FrontEvent>() {
            Ok((FrontEvent::Running { spawner: number }, _)) => {
                // Nobody but the broker can reap it, which does not while it is needed.
                spawner = pidfd_open(number, false).ok();
            }
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
                if let Some(spawner) = spawner.filter(|_| on_broker_death == OnBrokerDeath::Enosys) {
                    eprintln!("kcov-broker: the command goes on, and its traced calls get ENOSYS");
                    let _ = waitpid(broker, None);
                    outlive(left_alone.get_or_init(|| spawner));
                }
                return BROKER_FAILED;
            }
        }
    }
}

/// Waits for the end of a command without a broker: the spawner ends after it.
fn outlive(spawner: &OwnedFd) {
    while !pidfd::wait_dead(spawner.as_fd(), u16::MAX) {}
}

/// Passes signals on for as long as the process lives. Once the command is left alone, with this spawner, nobody takes
/// them.
fn forward(mut signals: SignalsInfo<WithOrigin>, mut broker: Channel, left_alone: &OnceLock<OwnedFd>) {
    for origin in &mut signals {
        let is_alone = left_alone.get().is_some();
        let mut pass_on = || broker.send(&FrontOrder::Signal(origin.signal), &[]).is_ok();
        if !is_alone && (reaches_command(&origin) || pass_on()) {
            continue;
        }
        // The broker may have died just now; if the command is not left alone this process ends.
        without_broker(&origin, left_alone.wait());
    }
}

/// What there is left to do about a signal without a broker: the job stops as a whole, and the command ends.
fn without_broker(origin: &Origin, spawner: &OwnedFd) {
    match (origin.signal, reaches_command(origin)) {
        (SIGTSTP, true) => {
            let _ = raise(Signal::SIGSTOP);
        }
        (SIGHUP | SIGINT | SIGQUIT | SIGTERM, false) => {
            // ESRCH: it ended just now.
            let _ = pidfd::send_signal(spawner.as_fd(), Signal::SIGTERM);
        }
        _ => {}
    }
}

/// Whether the signal came from the terminal, whose whole foreground job gets it: the command has it already.
fn reaches_command(origin: &Origin) -> bool {
    // SIGCONT continues a command in a job of its own too, and twice is as good as once.
    origin.signal != SIGCONT && matches!(origin.cause, Cause::Kernel)
}
