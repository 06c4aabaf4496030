//! Installed filters: how a child's calls arrive at its listener.

use super::build;
use super::machine::{I386, X86_64};
use crate::sys::filter::{check_kernel, install, set_sync_wake_up};
use crate::sys::{pidfd, process};
use kcov_proto::message::Response;
use kcov_sys::listener::{receive, send};
use kcov_sys::probe::{call, call_i386, child, end_of};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The supervisor's answer, which shows the child that a call was notified.
const ANSWER: i64 = 7_654_321;
/// A call that every set traces: its argument is the result of the call before it.
const REPORT: u64 = kcov_proto::abi::DISABLE as u64;

/// A call that a child makes.
#[derive(Clone, Copy, Debug)]
enum Probe {
    Native(i64, [u64; 6]),
    I386(u32, [u32; 3]),
}

impl Probe {
    fn make(self) -> i64 {
        match self {
            Probe::Native(number, args) => call(number, args).unwrap_or_else(|errno| -(errno as i64)),
            Probe::I386(number, args) => call_i386(number, args).into(),
        }
    }
}

/// Starts a child under the filter of `set` that makes `probes` and reports the result of each.
fn supervised(set: &str, probes: &[Probe]) -> (Pid, OwnedFd) {
    let program = build(&set.parse().expect("a set")).expect("a filter");
    let (ours, theirs) = nix::unistd::pipe().expect("pipe");
    let pid = child(|| {
        // The listener will have the lowest free number. Sent now: later the write would wait for the
        // supervisor.
        let Ok(free) = nix::unistd::dup(&theirs) else { return 1 };
        let number = free.as_raw_fd();
        drop(free);
        if nix::unistd::write(&theirs, &number.to_ne_bytes()).is_err() {
            return 1;
        }
        if install(&program).is_err() {
            return 1;
        }
        for probe in probes {
            let _ = call(libc::SYS_ioctl, [u64::MAX, REPORT, probe.make().cast_unsigned(), 0, 0, 0]);
        }
        0
    });
    drop(theirs);
    let mut number = [0; 4];
    nix::unistd::read(&ours, &mut number).expect("number of the listener");
    (pid, take(pid, i32::from_ne_bytes(number)))
}

/// Duplicates the child's listener once it is there.
fn take(pid: Pid, number: i32) -> OwnedFd {
    let child = process::pidfd_open(pid.as_raw().cast_unsigned(), false).expect("pidfd_open");
    loop {
        match pidfd::get_fd(child.as_fd(), number) {
            Ok(listener) => return listener,
            Err(Errno::EBADF) => std::thread::yield_now(),
            Err(errno) => panic!("pidfd_getfd: {errno}"),
        }
    }
}

/// Supervises one probe. Returns its notification, if it was traced, and its result.
fn supervise(listener: &OwnedFd) -> (Option<libc::seccomp_data>, i64) {
    let mut seen = None;
    loop {
        let notification = receive(listener.as_fd()).expect("a notification");
        send(listener.as_fd(), notification.id, Response::Value(ANSWER)).expect("an answer");
        let data = notification.data;
        if data.nr == libc::SYS_ioctl as i32 && data.args[..2] == [u64::MAX, REPORT] {
            return (seen, data.args[2].cast_signed());
        }
        seen = Some(data);
    }
}

fn end(pid: Pid) {
    kill(pid, Signal::SIGKILL).expect("kill");
    waitpid(pid, None).expect("waitpid");
}

/// Asserts for each probe that it is traced, with its architecture, or that the kernel fails it with an
/// error.
fn expect(set: &str, probes: &[(Probe, Result<u32, Errno>)]) {
    let calls: Vec<Probe> = probes.iter().map(|(probe, _)| *probe).collect();
    let (pid, listener) = supervised(set, &calls);
    set_sync_wake_up(listener.as_fd()).expect("Linux 6.6");
    for (probe, expected) in probes {
        let (seen, got) = supervise(&listener);
        match (expected, probe) {
            (Ok(arch), Probe::Native(number, args)) => {
                let data = seen.unwrap_or_else(|| panic!("{set}: {probe:x?} is not traced"));
                assert_eq!(
                    (data.arch, i64::from(data.nr), data.args, got),
                    (*arch, *number, *args, ANSWER),
                    "{set}"
                );
            }
            (Ok(arch), Probe::I386(number, [a, b, c])) => {
                let data = seen.unwrap_or_else(|| panic!("{set}: {probe:x?} is not traced"));
                assert_eq!((data.arch, data.nr.cast_unsigned(), got), (*arch, *number, ANSWER), "{set}");
                assert_eq!(data.args[..3], [*a, *b, *c].map(u64::from), "{set}");
            }
            (Err(errno), _) => {
                assert!(seen.is_none(), "{set}: {probe:x?} is traced");
                assert_eq!(got, -(*errno as i64), "{set}: {probe:x?}");
            }
        }
    }
    end(pid);
}

const INIT_SIGN_EXTENDED: u64 = 0xffff_ffff_8008_6301;
const HIGH: u64 = 0xdead_beef_0000_0000;
const NO_FD: u64 = 0xffff_ffff;

#[test]
fn a_child_under_kcov() {
    check_kernel().expect("Linux 5.19");
    let shared = libc::MAP_SHARED as u64;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let init = kcov_proto::abi::INIT_TRACE;
    expect(
        "kcov",
        &[
            (Probe::Native(libc::SYS_ioctl, [HIGH | 5, INIT_SIGN_EXTENDED, 64, 0, 0, 0]), Ok(X86_64)),
            (Probe::Native(libc::SYS_ioctl, [5, HIGH | u64::from(init), 64, 0, 0, 0]), Ok(X86_64)),
            (Probe::Native(libc::SYS_ioctl, [NO_FD, libc::TCGETS, 0, 0, 0, 0]), Err(Errno::EBADF)),
            (Probe::Native(libc::SYS_ioctl, [NO_FD, 0x8004_6301, 0, 0, 0, 0]), Err(Errno::EBADF)),
            (Probe::Native(libc::SYS_mmap, [0, 4096, 3, shared, HIGH | 5, 0]), Ok(X86_64)),
            (Probe::Native(libc::SYS_mmap, [0, 4096, 3, shared, NO_FD, 0]), Err(Errno::EBADF)),
            (Probe::Native(libc::SYS_mmap, [0, 0, 3, anonymous, 5, 0]), Err(Errno::EINVAL)),
            (Probe::Native(libc::SYS_openat, [u64::MAX; 6]), Err(Errno::EFAULT)),
            (Probe::Native(libc::SYS_execve, [0; 6]), Ok(X86_64)),
            (Probe::Native(libc::SYS_close, [NO_FD; 6]), Err(Errno::EBADF)),
            (Probe::I386(54, [5, init, 64]), Ok(I386)),
            (Probe::I386(54, [u32::MAX, 0x5401, 0]), Err(Errno::EBADF)),
            (Probe::I386(5, [0, 0, 0]), Err(Errno::EFAULT)),
            (Probe::I386(90, [0, 0, 0]), Ok(I386)),
            (Probe::I386(6, [u32::MAX, 0, 0]), Err(Errno::EBADF)),
            (Probe::Native(0x4000_0000 | 514, [5, u64::from(init), 0, 0, 0, 0]), Err(Errno::ENOSYS)),
        ],
    );
}

#[test]
fn a_child_under_every() {
    expect(
        "every",
        &[
            (Probe::Native(libc::SYS_close, [NO_FD; 6]), Ok(X86_64)),
            (Probe::Native(libc::SYS_futex, [0; 6]), Ok(X86_64)),
            (Probe::Native(libc::SYS_exit_group, [0; 6]), Ok(X86_64)),
            (Probe::Native(1023, [1, 2, 3, 4, 5, 6]), Ok(X86_64)),
            (Probe::I386(6, [u32::MAX, 0, 0]), Ok(I386)),
            (Probe::Native(0x4000_0000 | 514, [0; 6]), Err(Errno::ENOSYS)),
            (Probe::Native(0x4000_0000 | 3, [NO_FD; 6]), Err(Errno::ENOSYS)),
        ],
    );
}

#[test]
fn a_child_under_every_but_some() {
    expect(
        "every,-close,-ioctl",
        &[
            (Probe::Native(libc::SYS_close, [NO_FD; 6]), Err(Errno::EBADF)),
            (Probe::I386(6, [u32::MAX, 0, 0]), Err(Errno::EBADF)),
            (Probe::Native(libc::SYS_ioctl, [NO_FD, libc::TCGETS, 0, 0, 0, 0]), Err(Errno::EBADF)),
            (Probe::Native(libc::SYS_ioctl, [5, INIT_SIGN_EXTENDED, 64, 0, 0, 0]), Ok(X86_64)),
            (Probe::Native(libc::SYS_dup, [NO_FD; 6]), Ok(X86_64)),
            (Probe::I386(3, [u32::MAX, 0, 0]), Ok(I386)),
        ],
    );
}

#[test]
fn a_child_under_a_list() {
    expect(
        "cachestat,close",
        &[
            (Probe::Native(451, [0; 6]), Ok(X86_64)),
            (Probe::I386(451, [0; 3]), Ok(I386)),
            (Probe::Native(libc::SYS_close, [NO_FD; 6]), Ok(X86_64)),
            (Probe::Native(libc::SYS_dup, [NO_FD; 6]), Err(Errno::EBADF)),
        ],
    );
}

#[test]
fn a_process_can_have_only_one_listener() {
    let program = build(&"kcov".parse().expect("a set")).expect("a filter");
    let ended = end_of(|| match install(&program) {
        Ok(_) => i32::from(install(&program) != Err(Errno::EBUSY)),
        Err(_) => 2,
    });
    assert!(matches!(ended, nix::sys::wait::WaitStatus::Exited(_, 0)), "{ended:?}");
}
