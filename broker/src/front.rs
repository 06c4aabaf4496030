//! The front: the process that the user's shell sees.
//!
//! It stays in the job that the shell made, passes signals on, stops when the command stops, and ends with the
//! command's status. It holds no privilege that matters: a socket to the broker and a hold on the spawner are all it has.

pub mod messages;

use crate::launch::OnBrokerDeath;
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

/// Signals that go on to the command.
const FORWARDED: [i32; 9] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGTSTP, SIGWINCH];
/// Those that end the run as long as there is no command.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
/// Exit status when the broker itself fails.
pub const BROKER_FAILED: u8 = 125;

/// The signals that go on to the command, held from before there is a broker until they can be passed on: none is lost
/// on the way, and none ends the front.
#[derive(Debug)]
pub struct HeldSignals {
    before: SigSet,
}

impl HeldSignals {
    /// Holds them from now on.
    ///
    /// # Errors
    /// As `sigprocmask(2)`.
    pub fn hold() -> nix::Result<Self> {
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&forwarded().collect()), Some(&mut before))?;
        Ok(HeldSignals { before })
    }

    /// Lets them through.
    fn release(&self) {
        // It fails for no set.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }

    /// For the broker's process, which has left the job: what came meanwhile was for the front.
    pub fn discard(&self) {
        forwarded().for_each(fork::discard);
        self.release();
    }
}

fn forwarded() -> impl Iterator<Item = Signal> {
    FORWARDED.into_iter().filter_map(|signal| Signal::try_from(signal).ok())
}

/// What the thread that passes signals on and the one that waits tell each other.
#[derive(Debug, Default)]
struct Progress {
    /// The command is there, and part of the terminal's job.
    runs: AtomicBool,
    /// The signal that ended the run before.
    ended_by: AtomicI32,
    /// The spawner, once the command is left alone with it.
    left_alone: OnceLock<OwnedFd>,
}

impl Progress {
    /// The exit status of a run that a signal ended before there was a command.
    fn ended(&self) -> Option<u8> {
        let signal = self.ended_by.load(Ordering::Acquire);
        (signal != 0).then_some(128 + signal as u8)
    }
}

/// Waits for the command to end. Returns the exit status.
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
        (Err(error), _) | (_, Err(error)) => eprintln!("kcov-broker: signals are not passed on: {error}"),
    }
    let mut channel = Channel::from(socket);
    let mut spawner = None;
    loop {
        match channel.receive::<FrontEvent>() {
            Ok((FrontEvent::Running { spawner: number }, _)) => {
                // Nobody but the broker can reap it, which does not while it is needed.
                spawner = pidfd_open(number, false).ok();
                progress.runs.store(true, Ordering::Release);
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
                let ended = progress.ended();
                if ended.is_none() {
                    eprintln!("kcov-broker: the broker ended before the command did ({error})");
                }
                if let Some(spawner) = spawner.filter(|_| on_broker_death == OnBrokerDeath::Enosys) {
                    match ended {
                        // The command came to run after all.
                        Some(_) => end(&spawner),
                        None => {
                            eprintln!("kcov-broker: the command goes on, and its traced calls get ENOSYS")
                        }
                    }
                    let _ = waitpid(broker, None);
                    outlive(progress.left_alone.get_or_init(|| spawner));
                }
                return ended.unwrap_or(BROKER_FAILED);
            }
        }
    }
}

/// Waits for the end of a command without a broker: the spawner ends after it.
fn outlive(spawner: &OwnedFd) {
    while !pidfd::wait_dead(spawner.as_fd(), u16::MAX) {}
}

/// Has the spawner end a command without a broker.
fn end(spawner: &OwnedFd) {
    // ESRCH: it ended just now.
    let _ = pidfd::send_signal(spawner.as_fd(), Signal::SIGTERM);
}

/// Passes signals on for as long as the process lives. Once the command is left alone nobody takes them.
fn forward(mut signals: SignalsInfo<WithOrigin>, mut orders: Channel, broker: Pid, progress: &Progress) {
    for origin in &mut signals {
        let runs = progress.runs.load(Ordering::Acquire);
        if !runs && ENDING.contains(&origin.signal) {
            progress.ended_by.store(origin.signal, Ordering::Release);
            // A handler may take its time to be loaded, and the broker waits for it. Its end is that of all the others.
            // It is this process's child, and reaped at the end of this process only.
            let _ = kill(broker, Signal::SIGKILL);
            continue;
        }
        let is_alone = progress.left_alone.get().is_some();
        let has_reached = runs && reaches_command(&origin);
        let mut pass_on = || orders.send(&FrontOrder::Signal(origin.signal), &[]).is_ok();
        if !is_alone && (has_reached || pass_on()) {
            continue;
        }
        // The broker may have died just now; if the command is not left alone this process ends.
        without_broker(&origin, progress.left_alone.wait());
    }
}

/// What there is left to do about a signal without a broker: the job stops as a whole, and the command ends.
fn without_broker(origin: &Origin, spawner: &OwnedFd) {
    match (origin.signal, reaches_command(origin)) {
        (SIGTSTP, true) => {
            let _ = raise(Signal::SIGSTOP);
        }
        (signal, false) if ENDING.contains(&signal) => end(spawner),
        _ => {}
    }
}

/// Whether the signal came from the terminal, whose whole foreground job gets it: the command has it already, once it
/// is there.
fn reaches_command(origin: &Origin) -> bool {
    // SIGCONT continues a command in a job of its own too, and twice is as good as once.
    origin.signal != SIGCONT && matches!(origin.cause, Cause::Kernel)
}
