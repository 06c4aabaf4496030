//! The hint that tracing may break a program.
//!
//! The kernel ends the wait for a worker when a signal is handled before the worker has received the call, and the call
//! returns `EINTR` unless the handler has `SA_RESTART`. A call that is interruptible anyway has callers that expect this.
//! The others do not. procfs shows which signals a process handles, but not with which flags.

use super::workers::Workers;
use super::workers::process::Worker;
use crate::launch::trace_set::TraceSet;
use crate::sandbox::filter::traces_uninterruptible;
use crate::sys::procfs;
use nix::libc;
use tracing::warn;

/// Signals that a thread causes itself by a fault, and those that the C library keeps for itself: no hint is due for them.
const OWN: [i32; 9] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
    // SIGCANCEL and SIGSETXID.
    32,
    33,
];

/// Watches for the first process that the hint concerns.
#[derive(Debug)]
pub struct Interruptions {
    is_due: bool,
}

impl Interruptions {
    /// For a tenant with this set of calls.
    #[must_use]
    pub fn new(trace: &TraceSet) -> Self {
        Interruptions { is_due: traces_uninterruptible(trace) }
    }

    /// Logs the hint, once, if one of the threads that were served lately belongs to a process that handles signals.
    pub fn look(&mut self, workers: &Workers) {
        if !self.is_due {
            return;
        }
        let threads = workers.iter().flat_map(Worker::alleged_recent);
        let mut caught = threads.filter_map(|tid| Some((tid, asynchronous(procfs::caught_signals(tid)?))));
        if let Some((tid, signal)) = caught.find_map(|(tid, signal)| Some((tid, signal?))) {
            self.is_due = false;
            warn!(
                event = "interruptible",
                tid,
                signal,
                "a traced process handles signals: a call that never returns EINTR otherwise may do so, unless the handler \
                 has SA_RESTART; `--trace all` or `syzkaller` avoids it"
            );
        }
    }
}

/// The first signal of the mask that comes from outside the thread.
fn asynchronous(mask: u64) -> Option<i32> {
    (1..=64).find(|signal| mask >> (signal - 1) & 1 != 0 && !OWN.contains(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_no_interruptions() {
        let bit = |signal: i32| 1u64 << (signal - 1);
        assert_eq!(asynchronous(0), None);
        assert_eq!(asynchronous(OWN.into_iter().map(bit).sum()), None);
        assert_eq!(asynchronous(bit(libc::SIGSEGV) | bit(libc::SIGCHLD)), Some(libc::SIGCHLD));
        assert_eq!(asynchronous(bit(64)), Some(64));
    }

    #[test]
    fn only_uninterruptible_calls_make_it_due() {
        let due = |text: &str| Interruptions::new(&text.parse().expect("a set")).is_due;
        for text in ["kcov", "all", "syzkaller", "read,write", "execve", "all,poll"] {
            assert!(!due(text), "{text}");
        }
        for text in ["every", "getppid", "openat,read", "every,-close"] {
            assert!(due(text), "{text}");
        }
    }
}
