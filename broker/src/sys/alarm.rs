//! Interrupting system calls that may wait forever.

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ptr;
use std::time::Duration;

extern "C" fn do_nothing(_: libc::c_int) {}

/// While it exists, system calls of this process that wait end with `EINTR`, each time. For a process with
/// one thread, one alarm at a time.
#[derive(Debug)]
pub struct Alarm(());

impl Alarm {
    /// Starts to interrupt every `interval`, which is shorter than a second.
    ///
    /// # Errors
    /// As `sigaction(2)` and `setitimer(2)`.
    pub fn every(interval: Duration) -> Result<Self, Errno> {
        // Without SA_RESTART, so that calls end.
        let action = SigAction::new(SigHandler::Handler(do_nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler only returns.
        unsafe { sigaction(Signal::SIGALRM, &action) }?;
        SigSet::from(Signal::SIGALRM).thread_unblock()?;
        set(interval).map(|()| Alarm(()))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // Cannot fail: the arguments are valid.
        let _ = set(Duration::ZERO);
    }
}

/// Sets the process's timer; zero stops it. It repeats: a first signal may arrive before the call that it is
/// to interrupt.
fn set(interval: Duration) -> Result<(), Errno> {
    let time = libc::timeval { tv_sec: 0, tv_usec: interval.subsec_micros().into() };
    let timer = libc::itimerval { it_interval: time, it_value: time };
    // SAFETY: the kernel reads a live structure of this frame, and writes nothing.
    let set = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    Errno::result(set).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::pause;

    /// In a process of its own, as the timer is the process's.
    #[test]
    fn waits_are_interrupted_until_the_alarm_is_dropped() {
        let child = kcov_sys::probe::child(|| {
            let Ok(alarm) = Alarm::every(Duration::from_millis(2)) else { return 1 };
            pause();
            pause();
            drop(alarm);
            std::thread::sleep(Duration::from_millis(20));
            7
        });
        assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 7)));
    }
}
