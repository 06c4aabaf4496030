//! Tables against their filters, by real calls in real children; and confined processes doing their work.

use super::*;
use kcov_sys::probe::{call, child, end_of};
use kcov_sys::rules::check::{Confined, UNCONFINED, number};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket, socketpair};
use nix::sys::stat::{Mode, stat};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};
use std::os::fd::{AsFd, OwnedFd};

/// The broker under its filter.
fn confined_broker(program: &Bpf, check: impl FnOnce(&Confined<'_>)) {
    let install = || filter::confine(program);
    check(&Confined { tables: rules::BROKER, denial: BROKER_DENIAL, install: &install });
}

/// A reader under its filter.
fn confined_reader(program: &Bpf, check: impl FnOnce(&Confined<'_>)) {
    let install = || filter::confine(program);
    check(&Confined { tables: rules::READER, denial: READER_DENIAL, install: &install });
}

#[test]
fn filters_follow_the_tables() {
    let every = [rules::BROKER, rules::READER].concat();
    confined_broker(&broker_filter().expect("a filter"), |broker| {
        broker.assert_rules(&every);
        broker.assert_other_numbers_are_denied();
    });
    confined_reader(&reader_filter().expect("a filter"), |reader| {
        reader.assert_rules(&every);
        reader.assert_other_numbers_are_denied();
    });
}

/// By name, so that a rule that is added to a table by mistake fails here.
#[test]
fn calls_that_lead_out_are_denied() {
    #[rustfmt::skip]
    const NEITHER: &[&str] = &[
        "execve", "execveat", "fork", "vfork", "clone", "clone3", "socket", "connect", "bind", "listen",
        "accept4", "ptrace", "setns", "unshare", "mount", "umount2", "pivot_root", "chroot", "open_tree",
        "move_mount", "fsopen", "fsmount", "bpf", "keyctl", "add_key", "request_key", "init_module",
        "finit_module", "delete_module", "kexec_load", "kexec_file_load", "perf_event_open",
        "io_uring_setup", "userfaultfd", "open_by_handle_at", "setuid", "setresuid", "setgid", "setresgid",
        "setgroups", "capset", "seccomp", "personality", "unlink", "unlinkat", "rename", "renameat2",
        "link", "linkat", "symlink", "mkdir", "mkdirat", "mknod", "mknodat", "chmod", "fchmodat", "chown",
        "fchownat", "truncate", "creat", "sethostname", "reboot", "swapon", "acct", "iopl", "ioperm",
        "modify_ldt",
    ];
    let write = [u64::MAX, u64::MAX, libc::O_WRONLY as u64, 0, 0, 0];
    let signal = [u64::MAX, libc::SIGKILL as u64, 0, 0, 0, 0];
    confined_broker(&broker_filter().expect("a filter"), |broker| {
        broker.assert_denied(NEITHER);
        broker.assert_denied(&["openat2", "process_vm_readv", "pidfd_getfd"]);
        assert!(broker.allows(number("openat"), write) && broker.allows(number("pidfd_send_signal"), signal));
    });
    confined_reader(&reader_filter().expect("a filter"), |reader| {
        reader.assert_denied(NEITHER);
        for name in ["socketpair", "memfd_create", "kill", "inotify_init1"] {
            assert!(!reader.allows(number(name), [libc::AF_UNIX as u64; 6]), "{name}");
        }
        assert!(
            !reader.allows(number("openat"), write) && !reader.allows(number("pidfd_send_signal"), signal)
        );
        // Structures elsewhere, or between the prepared ones, could ask for any flags.
        for how in [0, path_lookup::HOW.1 + 8, path_lookup::HOW.1 + 4096] {
            let args = [u64::MAX, 0, how, path_lookup::SIZE, 0, 0];
            assert!(!reader.allows(number("openat2"), args), "{how:x}");
        }
        let parent = Pid::this().as_raw().cast_unsigned().into();
        let abort = [parent, parent, libc::SIGABRT as u64, 0, 0, 0];
        assert!(!reader.allows(number("tgkill"), abort));
    });
}

/// Returns a line of `/proc/PID/status`, as a hexadecimal number.
fn status(pid: Pid, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect(field);
    u64::from_str_radix(value.trim(), 16).expect(field)
}

/// Starts a dumpable process under another uid that has a memfd. Returns it and the number of the descriptor.
fn tenant() -> (Pid, i32) {
    let file = memfd_create("tenant", MFdFlags::empty()).expect("memfd");
    let number = file.as_raw_fd();
    let (ours, theirs) = pair();
    let pid = child(|| {
        // Without the sockets of tests that run in parallel, which wait until the last copy is closed.
        let closed = keep_only(&[file.as_fd(), theirs.as_fd()]);
        let (uid, gid) = (Uid::from_raw(54_321), Gid::from_raw(54_321));
        let become_other =
            setgroups(&[]).and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
        let dumpable = nix::sys::prctl::set_dumpable(true);
        let brief = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        let ready = closed.is_ok() && become_other.and(dumpable).and(brief).is_ok();
        let _ = send(theirs.as_raw_fd(), &[u8::from(ready)], MsgFlags::empty());
        std::thread::sleep(std::time::Duration::from_secs(60));
        0
    });
    let mut ready = [0];
    recv(ours.as_raw_fd(), &mut ready, MsgFlags::empty()).expect("message of the tenant");
    assert_eq!(ready, [1]);
    (pid, number)
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("socketpair")
}

/// Runs `work` in a confined child, then checks the child's privileges.
fn assert_works(
    confine: impl Fn() -> Result<(), ConfineError>,
    capabilities: u64,
    work: impl Fn() -> Result<(), &'static str>,
) {
    let (ours, theirs) = pair();
    let pid = child(|| {
        let outcome = confine().map_err(|_| "confine").and_then(|()| work());
        let words = outcome.err().unwrap_or("done");
        let _ = send(theirs.as_raw_fd(), words.as_bytes(), MsgFlags::empty());
        let _ = recv(theirs.as_raw_fd(), &mut [0], MsgFlags::empty());
        0
    });
    drop(theirs);
    let mut words = [0; 64];
    let length = recv(ours.as_raw_fd(), &mut words, MsgFlags::empty()).expect("message of the child");
    assert_eq!(std::str::from_utf8(&words[..length]), Ok("done"));
    for (field, expected) in [("CapPrm", capabilities), ("CapEff", capabilities), ("CapBnd", capabilities)] {
        assert_eq!(status(pid, field), expected, "{field}");
    }
    assert_eq!((status(pid, "CapInh"), status(pid, "CapAmb"), status(pid, "NoNewPrivs")), (0, 0, 1));
    assert_eq!((status(pid, "Seccomp"), status(pid, "Seccomp_filters")), (2, 1));
    send(ours.as_raw_fd(), b".", MsgFlags::empty()).expect("end of the child");
    assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
}

#[test]
fn a_confined_broker_works_and_cannot_do_more() {
    if !Uid::effective().is_root() {
        return;
    }
    let (tenant, file) = tenant();
    assert_works(broker, BROKER_CAPABILITIES, || {
        stat(format!("/proc/{tenant}/fd/{file}").as_str()).map_err(|_| "identity of a tenant's file")?;
        let arena = memfd_create("arena", MFdFlags::MFD_ALLOW_SEALING).map_err(|_| "memfd_create")?;
        nix::unistd::ftruncate(&arena, 4096).map_err(|_| "ftruncate")?;
        let own = format!("/proc/self/fd/{}", arena.as_raw_fd());
        let view = open(own.as_str(), OFlag::O_RDWR, Mode::empty()).map_err(|_| "re-open")?;
        drop(view);
        std::fs::read_dir("/proc/self/fd").map_err(|_| "read_dir")?.count();
        std::fs::read_to_string(format!("/proc/{tenant}/stat")).map_err(|_| "stat of the tenant")?;
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty())
            .map_err(|_| "socketpair")?;
        kill(tenant, None).map_err(|_| "signal 0")?;
        let denied = |outcome: Result<(), Errno>, what| match outcome {
            Err(Errno::EPERM) => Ok(()),
            _ => Err(what),
        };
        denied(nix::unistd::execv(c"/bin/true", &[c"true"]).map(drop), "execve is not denied")?;
        let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).map(drop);
        denied(made, "socket is not denied")?;
        let made = open("/tmp/made-by-the-broker", OFlag::O_WRONLY | OFlag::O_CREAT, Mode::empty()).map(drop);
        denied(made, "making a file is not denied")
    });
    kill(tenant, Signal::SIGKILL).expect("kill");
    waitpid(tenant, None).expect("waitpid");
}

#[test]
fn a_confined_reader_reads_and_cannot_do_more() {
    if !Uid::effective().is_root() {
        return;
    }
    let (tenant, file) = tenant();
    let program = reader_filter().expect("a filter");
    assert_works(
        || reader(&program),
        READER_CAPABILITIES,
        || {
            stat(format!("/proc/{tenant}/fd/{file}").as_str()).map_err(|_| "identity of a tenant's file")?;
            open(format!("/proc/{tenant}/root").as_str(), OFlag::O_PATH, Mode::empty())
                .map_err(|_| "root")?;
            std::fs::read_to_string(format!("/proc/{tenant}/status"))
                .map(drop)
                .map_err(|_| "status of the tenant")
        },
    );
    let writes = end_of(|| match reader(&program) {
        Ok(()) => i32::from(open("/dev/null", OFlag::O_RDWR, Mode::empty()).is_ok()),
        Err(_) => UNCONFINED,
    });
    assert!(matches!(writes, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{writes:?}");
    kill(tenant, Signal::SIGKILL).expect("kill");
    waitpid(tenant, None).expect("waitpid");
}

#[test]
fn keep_only_closes_the_others() {
    let (ours, theirs) = pair();
    let kept = theirs.as_raw_fd();
    let end = end_of(|| {
        if keep_only(&[theirs.as_fd()]).is_err() {
            return UNCONFINED;
        }
        // Descriptors of this test's process are below 1024 by its limit.
        let open =
            (0..1024).filter(|&fd| call(libc::SYS_fcntl, [fd, libc::F_GETFD as u64, 0, 0, 0, 0]).is_ok());
        i32::from(open.ne([0, 1, 2, kept as u64]))
    });
    assert!(matches!(end, WaitStatus::Exited(_, 0)), "{end:?}");
    drop(ours);
}
