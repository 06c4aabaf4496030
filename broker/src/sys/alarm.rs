//! An end to system calls that might wait for ever.

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::ptr;
use std::time::Duration;

extern "C" fn nothing(_: libc::c_int) {}

/// While it lives, system calls of this process that wait end with `EINTR`, again and again. For a process with one
/// thread; one at a time.
#[derive(Debug)]
pub struct Alarm(());

impl Alarm {
    /// Interrupts every `interval`, less than a second, from here on.
    ///
    /// # Errors
    /// As `sigaction(2)` and `setitimer(2)`.
    pub fn every(interval: Duration) -> Result<Self, Errno> {
        // Without SA_RESTART.
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing.
        unsafe { sigaction(Signal::SIGALRM, &action) }?;
        SigSet::from(Signal::SIGALRM).thread_unblock()?;
        set(interval).map(|()| Alarm(()))
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // To end it cannot fail: the arguments are good.
        let _ = set(Duration::ZERO);
    }
}

/// The process's timer: again and again, so that one that comes too early is followed by another; zero ends it.
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
    use nix::unistd::{ForkResult, fork, pause};

    /// In a process of its own: the timer is the process's.
    #[test]
    fn what_waits_is_interrupted_until_it_ends() {
        // SAFETY: the child makes system calls only.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => {
                let alarm = Alarm::every(Duration::from_millis(2));
                pause();
                pause();
                drop(alarm);
                std::thread::sleep(Duration::from_millis(20));
                // SAFETY: ends this process.
                unsafe { libc::_exit(7) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 7)));
            }
        }
    }
}
