//! Installed filters: what a child's calls look like at its listener.

use super::build;
use super::machine::{I386, X86_64};
use crate::sys::filter::probe::{answer, call, call_i386, child, end_of, install_owned, owned, receive};
use crate::sys::filter::{check_kernel, set_sync_wake_up};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// What the supervisor of these tests answers, so that the child sees that a call went there.
const ANSWER: i64 = 7_654_321;
/// A call that every set traces: its argument tells the supervisor what the call before it gave.
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

/// A child under the filter of `set` that makes `probes` and reports after each what it gave.
fn supervised(set: &str, probes: &[Probe]) -> (Pid, OwnedFd) {
    let program = build(&set.parse().expect("a set")).expect("a filter");
    let (ours, theirs) = nix::unistd::pipe().expect("pipe");
    let pid = child(|| {
        // The listener will have the lowest free number; it is told before every call waits for a supervisor.
        let Ok(free) = nix::unistd::dup(&theirs) else { return 1 };
        let number = free.as_raw_fd();
        drop(free);
        if nix::unistd::write(&theirs, &number.to_ne_bytes()).is_err() {
            return 1;
        }
        let Ok(listener) = install_owned(&program) else { return 1 };
        std::mem::forget(listener);
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

/// Takes the child's listener once it is there.
fn take(pid: Pid, number: i32) -> OwnedFd {
    let [pid, number] = [pid.as_raw(), number].map(|value| u64::from(value.cast_unsigned()));
    let pidfd = call(libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]).expect("pidfd_open");
    let pidfd = owned(pidfd);
    loop {
        match call(libc::SYS_pidfd_getfd, [pidfd.as_raw_fd() as u64, number, 0, 0, 0, 0]) {
            Ok(listener) => return owned(listener),
            Err(Errno::EBADF) => std::thread::yield_now(),
            Err(errno) => panic!("pidfd_getfd: {errno}"),
        }
    }
}

/// What the supervisor hears of one probe: its notification if it was traced, and what the child got.
fn hear(listener: &OwnedFd) -> (Option<libc::seccomp_data>, i64) {
    let mut seen = None;
    loop {
        let notification = receive(listener.as_raw_fd()).expect("a notification");
        answer(listener.as_raw_fd(), notification.id, ANSWER).expect("an answer");
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

/// Asserts of each probe whether it is traced and, if not, what the kernel says.
fn expect(set: &str, probes: &[(Probe, Result<u32, Errno>)]) {
    let calls: Vec<Probe> = probes.iter().map(|(probe, _)| *probe).collect();
    let (pid, listener) = supervised(set, &calls);
    set_sync_wake_up(listener.as_fd()).expect("Linux 6.6");
    for (probe, expected) in probes {
        let (seen, got) = hear(&listener);
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
            (Probe::Native(libc::SYS_openat, [u64::MAX; 6]), Ok(X86_64)),
            (Probe::Native(libc::SYS_openat2, [u64::MAX; 6]), Ok(X86_64)),
            (Probe::Native(libc::SYS_execve, [0; 6]), Ok(X86_64)),
            (Probe::Native(libc::SYS_close, [NO_FD; 6]), Err(Errno::EBADF)),
            (Probe::I386(54, [5, init, 64]), Ok(I386)),
            (Probe::I386(54, [u32::MAX, 0x5401, 0]), Err(Errno::EBADF)),
            (Probe::I386(5, [0, 0, 0]), Ok(I386)),
            (Probe::I386(90, [0, 0, 0]), Ok(I386)),
            (Probe::I386(6, [u32::MAX, 0, 0]), Err(Errno::EBADF)),
            (Probe::Native(0x4000_0000 | 514, [5, u64::from(init), 0, 0, 0, 0]), Err(Errno::ENOSYS)),
        ],
    );
}

#[test]
fn a_child_under_all() {
    expect(
        "all",
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
fn one_listener_is_what_a_process_can_have() {
    let program = build(&"kcov".parse().expect("a set")).expect("a filter");
    let ended = end_of(|| match install_owned(&program) {
        Ok(listener) => {
            std::mem::forget(listener);
            i32::from(install_owned(&program).err() != Some(Errno::EBUSY))
        }
        Err(_) => 2,
    });
    assert!(matches!(ended, nix::sys::wait::WaitStatus::Exited(_, 0)), "{ended:?}");
}
