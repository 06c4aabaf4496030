//! The front: the process that the user's shell sees.
//!
//! It stays in the job that the shell made, forwards signals, stops when the command stops, and exits with
//! the command's status. It only holds a socket to the broker, and pidfds of the broker and the spawner.
//!
//! # Ends within a bound
//! A signal that ends programs must be answered: the broker reports that the command has got it, or that it
//! has got one from the terminal. If the broker does not, it is killed, and with it the run; the same if it does not
//! exit. The front is a subreaper, so that it gets what a killed broker leaves, and can end and name it.

pub mod messages;

use crate::launch::OnBrokerDeath;
use crate::processes::ending::{self, AGAIN_TIME, end_children};
use crate::sys::process::pidfd_open;
use crate::sys::socket::{Channel, ChannelError};
use crate::sys::{fork, pidfd};
use messages::{FrontEvent, FrontOrder};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use std::os::fd::{AsFd, OwnedFd};

/// Signals that are forwarded to the command.
const FORWARDED: [Signal; 9] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];
/// Signals that end the run before the command runs, and must be answered afterwards.
pub const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];
/// Exit status if kcov-broker itself fails.
pub const BROKER_FAILED: u8 = 125;

/// Blocks the forwarded signals from before the broker is forked, so that none is lost and none kills the front, which
/// reads them from a descriptor.
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
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&forwarded()), Some(&mut before))?;
        Ok(HeldSignals { before })
    }

    /// Discards pending signals. For the broker's process, which inherited them: they were sent to the front.
    pub fn discard(&self) {
        FORWARDED.into_iter().for_each(fork::discard);
        // sigprocmask cannot fail for a valid set.
        let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.before), None);
    }
}

fn forwarded() -> SigSet {
    FORWARDED.into_iter().collect()
}

/// An ending signal that was not answered.
#[derive(Clone, Copy, Debug)]
struct Unanswered {
    /// Looks that are left for the answer, or for the exit of the broker. Not a time: a frozen control group must not
    /// count.
    looks: u32,
    /// Looks so far.
    age: u32,
}

/// Interval between two looks while a signal is unanswered, milliseconds.
const LOOK: u16 = 100;
/// Looks within which the broker answers: 3 s. The tender has half of that.
const ANSWER: u32 = 30;
/// Looks within which a broker that ends the run exits: 6.5 s.
const EXIT: u32 = 65;
/// A second ending signal ends a run at once if the first one has not been answered for this many looks.
const SECOND: u32 = 3;

struct Front {
    channel: Channel,
    broker: Pid,
    broker_process: OwnedFd,
    signals: SignalFd,
    on_broker_death: OnBrokerDeath,
    /// Children that this process inherited: `exec kcov-broker run` in a shell with background processes.
    inherited: Vec<u32>,
    /// The spawner, once the command runs.
    spawner: Option<OwnedFd>,
    /// The signal that ended the run before the command ran.
    ended_by: Option<i32>,
    unanswered: Option<Unanswered>,
    /// The exit status, once the broker has only to exit.
    status: Option<u8>,
    /// Whether the broker closed its socket.
    is_closed: bool,
    /// Whether the command runs on without a broker.
    is_orphaned: bool,
}

/// To be called before the broker is forked: this process gets what the broker leaves if it is killed.
///
/// # Errors
/// Errors of `prctl(2)`.
pub fn adopt_orphans() -> nix::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}

/// Waits until the command ends. `held`: the signals are blocked. Returns the exit status.
///
/// # Errors
/// If the broker cannot be watched.
pub fn wait(
    socket: OwnedFd,
    broker: Pid,
    _held: &HeldSignals,
    on_broker_death: OnBrokerDeath,
) -> nix::Result<u8> {
    let own = broker.as_raw().cast_unsigned();
    let front = Front {
        channel: socket.into(),
        broker,
        broker_process: pidfd_open(own, false)?,
        signals: SignalFd::with_flags(&forwarded(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
        on_broker_death,
        inherited: ending::children().into_iter().filter(|&pid| pid != own).collect(),
        spawner: None,
        ended_by: None,
        unanswered: None,
        status: None,
        is_closed: false,
        is_orphaned: false,
    };
    Ok(front.serve())
}

impl Front {
    fn serve(mut self) -> u8 {
        loop {
            self.wait_for_event();
            if let Some(status) = self.read_signals() {
                return status;
            }
            let status = if self.is_orphaned { self.command_ended() } else { self.read_events() };
            if let Some(status) = status {
                return status;
            }
            if self.is_overdue() {
                return self.force();
            }
        }
    }

    fn wait_for_event(&mut self) {
        let timeout = if self.unanswered.is_some() { PollTimeout::from(LOOK) } else { PollTimeout::NONE };
        let process = match (&self.spawner, self.is_orphaned) {
            (Some(spawner), true) => spawner,
            _ => &self.broker_process,
        };
        let mut fds = vec![
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(process.as_fd(), PollFlags::POLLIN),
        ];
        // A closed socket stays readable.
        if !self.is_closed {
            fds.push(PollFd::new(self.channel.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, timeout) {
            Ok(0) => {
                if let Some(unanswered) = &mut self.unanswered {
                    unanswered.looks = unanswered.looks.saturating_sub(1);
                    unanswered.age += 1;
                }
            }
            // EINTR: the front was stopped and continued.
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => eprintln!("kcov-broker: poll: {errno}"),
        }
    }

    fn is_overdue(&self) -> bool {
        self.unanswered.is_some_and(|unanswered| unanswered.looks == 0)
    }

    /// Handles all pending signals. Returns the exit status if one ended the run.
    fn read_signals(&mut self) -> Option<u8> {
        while let Ok(Some(read)) = self.signals.read_signal() {
            let number = read.ssi_signo.cast_signed();
            // The terminal sends a signal to the whole foreground job, so that the command got it too. SIGCONT is always
            // forwarded: the command may have made its own job, and a second SIGCONT does no harm.
            let reaches_command = number != libc::SIGCONT && read.ssi_code == libc::SI_KERNEL;
            let is_ending = ENDING.contains(&number);
            if self.is_orphaned {
                match (number, reaches_command) {
                    (libc::SIGTSTP, true) => drop(raise(Signal::SIGSTOP)),
                    (_, false) if is_ending => return Some(self.end_orphaned()),
                    _ => {}
                }
            } else if is_ending {
                if let Some(status) = self.end(if reaches_command { 0 } else { number }, number) {
                    return Some(status);
                }
            } else if self.spawner.is_none() || !reaches_command {
                self.order(number);
            }
        }
        None
    }

    fn order(&mut self, number: i32) {
        // If this fails, the broker is dead, which is an event of its own, or does not answer.
        let _ = self.channel.try_send(&FrontOrder::Signal(number), &[]);
    }

    /// Handles an ending signal: `forwarded` is what the command must get.
    fn end(&mut self, forwarded: i32, signal: i32) -> Option<u8> {
        if self.spawner.is_none() && self.status.is_none() {
            self.ended_by = Some(signal);
            // The broker may be waiting for a slow handler to load, so it is killed; its helpers exit with it.
            return Some(self.force());
        }
        if self.unanswered.is_some_and(|unanswered| unanswered.age >= SECOND) {
            return Some(self.force());
        }
        // Processes that were stopped cannot answer.
        ending::wake(&self.broker_process);
        self.spawner.iter().for_each(ending::wake);
        self.order(forwarded);
        let looks = if self.status.is_some() { EXIT } else { ANSWER };
        self.unanswered.get_or_insert(Unanswered { looks, age: 0 });
        None
    }

    /// Handles all pending events. Returns the exit status if the run has ended.
    fn read_events(&mut self) -> Option<u8> {
        let has_exited = pidfd::is_dead(self.broker_process.as_fd());
        while !self.is_closed {
            match self.channel.try_receive::<FrontEvent>() {
                Ok((event, _)) => {
                    if let Some(status) = self.handle(event) {
                        return Some(status);
                    }
                }
                Err(ChannelError::WouldBlock) => break,
                Err(error) => {
                    self.is_closed = true;
                    if self.status.is_none() {
                        return self.broker_died(&error);
                    }
                }
            }
        }
        self.status.filter(|_| has_exited)
    }

    fn handle(&mut self, event: FrontEvent) -> Option<u8> {
        match event {
            FrontEvent::Running { spawner } => {
                // The id is not reused meanwhile: only the broker can reap the spawner, and does so at its own end.
                self.spawner = pidfd_open(spawner, false).ok();
            }
            FrontEvent::Signalled => self.unanswered = None,
            FrontEvent::Stopped => {
                // The shell sees that the job stopped, and can continue it.
                let _ = raise(Signal::SIGSTOP);
            }
            // The broker serves what the command left in the background.
            FrontEvent::Ended { status, last: false } => return Some(status),
            // No process of the run is left when the shell shows its prompt again.
            FrontEvent::Ended { status, last: true } => self.broker_will_exit(status),
            FrontEvent::Failed { message, status } => {
                eprintln!("kcov-broker: {message}");
                self.broker_will_exit(status);
            }
        }
        None
    }

    fn broker_will_exit(&mut self, status: u8) {
        self.status.get_or_insert(status);
        if let Some(unanswered) = &mut self.unanswered {
            unanswered.looks = EXIT.saturating_sub(unanswered.age);
        }
    }

    /// The broker exited, or was killed, before the command. Returns the exit status unless the command runs on.
    fn broker_died(&mut self, error: &ChannelError) -> Option<u8> {
        eprintln!("kcov-broker: the broker exited before the command ({error})");
        self.kill_broker();
        if self.on_broker_death == OnBrokerDeath::Enosys && self.spawner.is_some() {
            self.is_orphaned = true;
            if self.unanswered.take().is_some() {
                return Some(self.end_orphaned());
            }
            eprintln!("kcov-broker: the command keeps running; its traced calls fail with ENOSYS");
            return None;
        }
        self.end_rest();
        Some(BROKER_FAILED)
    }

    /// Returns the exit status if a command without a broker has ended: its spawner exits then.
    fn command_ended(&self) -> Option<u8> {
        let has_ended = self.spawner.as_ref().is_none_or(|spawner| pidfd::is_dead(spawner.as_fd()));
        has_ended.then_some(BROKER_FAILED)
    }

    /// Ends a command without a broker. Returns the exit status.
    fn end_orphaned(&self) -> u8 {
        self.end_rest();
        BROKER_FAILED
    }

    /// Kills a broker that does not answer, or is not needed any more. Returns the exit status.
    fn force(&mut self) -> u8 {
        if self.ended_by.is_none() {
            eprintln!("kcov-broker: the broker does not answer; killing it and the command");
        }
        self.kill_broker();
        self.end_rest();
        let ended = self.ended_by.map(|signal| 128 + signal as u8);
        ended.or(self.status).unwrap_or(BROKER_FAILED)
    }

    /// Kills the broker, and waits until what it left belongs to this process.
    fn kill_broker(&self) {
        /// Milliseconds until a killed process is dead.
        const DEAD: u16 = 500;
        // The id is not reused: only this process reaps the broker, at its own end.
        let _ = kill(self.broker, Signal::SIGKILL);
        let _ = pidfd::wait_dead(self.broker_process.as_fd(), DEAD);
    }

    /// Ends what a dead broker left, and names what cannot be ended. The spawner ends the others.
    fn end_rest(&self) {
        let broker = self.broker.as_raw().cast_unsigned();
        let spawner = ending::children().into_iter().find(|&pid| pid != broker && self.is_ours(pid));
        if let Some(spawner) = spawner.filter(|_| self.on_broker_death == OnBrokerDeath::Enosys) {
            // Without this order it lets the command run on. Its id is not reused before it is reaped, here.
            let _ = kill(Pid::from_raw(spawner.cast_signed()), Signal::SIGTERM);
        }
        if let Err(survivors) = end_children(spawner, AGAIN_TIME, |pid| self.is_ours(pid)) {
            eprintln!("kcov-broker: {survivors}");
        }
    }

    fn is_ours(&self, pid: u32) -> bool {
        !self.inherited.contains(&pid)
    }
}
