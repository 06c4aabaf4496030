//! The front: the process that the user's shell sees.
//!
//! It stays in the job that the shell made, forwards signals, stops when the command stops, and exits with
//! the command's status. It only holds a socket to the broker and a pidfd of the spawner.

pub mod messages;

use crate::launch::OnBrokerDeath;
use crate::logs::print_message;
use crate::printable;
use crate::sys::process::pidfd_open;
use crate::sys::socket::Channel;
use crate::sys::{fork, pidfd};
use messages::{FrontEvent, FrontOrder};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise, sigprocmask};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

/// Signals that are forwarded to the command.
const FORWARDED: [i32; 9] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGTSTP, SIGWINCH];
/// Signals that end the run before the command runs.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// Exit status if kcov-broker itself fails.
pub const BROKER_FAILED: u8 = 125;

/// Blocks the forwarded signals from before the broker is forked until they can be forwarded, so that none is
/// lost and none kills the front.
#[derive(Debug)]
pub struct HeldSignals {
    before: SigSet,
}

impl HeldSignals {
    /// Blocks the signals.
    ///
    /// # Errors
    /// Errors of `sigprocmask(2)`.
    pub fn hold() -> nix::Result<Self> {
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&forwarded().collect()), Some(&mut before))?;
        Ok(HeldSignals { before })
    }

    /// Unblocks the signals.
    fn release(&self) {
        // sigprocmask cannot fail for a valid set.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }

    /// Discards pending signals. For the broker's process, which inherited them: they were sent to the front.
    pub fn discard(&self) {
        forwarded().for_each(fork::discard);
        self.release();
    }
}

fn forwarded() -> impl Iterator<Item = Signal> {
    FORWARDED.into_iter().filter_map(|signal| Signal::try_from(signal).ok())
}

/// State shared by the thread that forwards signals and the one that waits for the broker.
#[derive(Debug, Default)]
struct Progress {
    /// The command runs and is a part of the terminal's job.
    runs: AtomicBool,
    /// The signal that ended the run before the command ran; 0 if none did.
    ended_by: AtomicI32,
    /// The spawner, if the broker died and the command keeps running.
    orphaned: OnceLock<OwnedFd>,
}

impl Progress {
    /// The exit status, if a signal ended the run before the command ran.
    fn ended(&self) -> Option<u8> {
        let signal = self.ended_by.load(Ordering::Acquire);
        (signal != 0).then_some(128 + signal as u8)
    }
}

/// Waits until the command ends. Returns the exit status.
pub fn wait(socket: OwnedFd, broker: Pid, held: &HeldSignals, on_broker_death: OnBrokerDeath) -> u8 {
    let orders = socket.try_clone();
    let progress = Arc::new(Progress::default());
    let signals = SignalsInfo::<WithOrigin>::new(FORWARDED);
    held.release();
    match (orders, signals) {
        (Ok(orders), Ok(signals)) => {
            let progress = progress.clone();
            std::thread::spawn(move || forward(signals, orders.into(), broker, &progress));
        }
        (Err(error), _) | (_, Err(error)) => print_message(format_args!("cannot forward signals: {error}")),
    }
    let mut channel = Channel::from(socket);
    let mut spawner = None;
    loop {
        match channel.receive::<FrontEvent>() {
            Ok((FrontEvent::Running { spawner: number }, _)) => {
                // The id is not reused meanwhile: only the broker can reap the spawner, and does so at its
                // own end.
                spawner = pidfd_open(number, false).ok();
                progress.runs.store(true, Ordering::Release);
            }
            Ok((FrontEvent::Stopped, _)) => {
                // The shell sees that the job stopped, and can continue it.
                let _ = raise(Signal::SIGSTOP);
            }
            Ok((FrontEvent::Ended { status, last }, _)) => {
                if last {
                    // No process of the run is left when the shell shows its prompt again.
                    let _ = waitpid(broker, None);
                }
                return status;
            }
            Ok((FrontEvent::Failed { message, status }, _)) => {
                print_message(printable::line(&message));
                let _ = waitpid(broker, None);
                return status;
            }
            Err(error) => {
                let ended = progress.ended();
                if ended.is_none() {
                    print_message(format_args!("the broker exited before the command ({error})"));
                }
                if let Some(spawner) = spawner.filter(|_| on_broker_death == OnBrokerDeath::Enosys) {
                    match ended {
                        // The signal came too late: the command runs.
                        Some(_) => terminate(&spawner),
                        None => print_message("the command keeps running; its traced calls fail with ENOSYS"),
                    }
                    let _ = waitpid(broker, None);
                    wait_for_exit(progress.orphaned.get_or_init(|| spawner));
                }
                return ended.unwrap_or(BROKER_FAILED);
            }
        }
    }
}

/// Waits for the spawner, which exits after a command without a broker.
fn wait_for_exit(spawner: &OwnedFd) {
    while !pidfd::wait_dead(spawner.as_fd(), u16::MAX) {}
}

/// Asks the spawner to end a command without a broker.
fn terminate(spawner: &OwnedFd) {
    // ESRCH: the spawner has just exited.
    let _ = pidfd::send_signal(spawner.as_fd(), Signal::SIGTERM);
}

/// Forwards signals for as long as the process lives. After the broker's death, signals are handled here.
fn forward(mut signals: SignalsInfo<WithOrigin>, mut orders: Channel, broker: Pid, progress: &Progress) {
    for origin in &mut signals {
        let runs = progress.runs.load(Ordering::Acquire);
        if !runs && ENDING.contains(&origin.signal) {
            progress.ended_by.store(origin.signal, Ordering::Release);
            // The broker may be waiting for a slow handler to load, so it is killed; its helpers exit with
            // it. The id is not reused, because this process reaps the broker only at its own end.
            let _ = kill(broker, Signal::SIGKILL);
            continue;
        }
        let is_orphaned = progress.orphaned.get().is_some();
        let is_delivered = runs && reaches_command(&origin);
        let mut forward = || orders.send(&FrontOrder::Signal(origin.signal), &[]).is_ok();
        if !is_orphaned && (is_delivered || forward()) {
            continue;
        }
        // The broker may have died just now. If the command does not keep running, this process exits while
        // it waits here.
        without_broker(&origin, progress.orphaned.wait());
    }
}

/// Handles a signal after the broker's death: stops with the job, or ends the command.
fn without_broker(origin: &Origin, spawner: &OwnedFd) {
    match (origin.signal, reaches_command(origin)) {
        (SIGTSTP, true) => {
            let _ = raise(Signal::SIGSTOP);
        }
        (signal, false) if ENDING.contains(&signal) => terminate(spawner),
        _ => {}
    }
}

/// Whether the terminal sent the signal to the whole foreground job, so that the command got it too.
fn reaches_command(origin: &Origin) -> bool {
    // SIGCONT is always forwarded: the command may have made its own job, and a second SIGCONT does no harm.
    origin.signal != SIGCONT && matches!(origin.cause, Cause::Kernel)
}
