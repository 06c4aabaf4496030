//! The table against the filters that result, by real calls in real children; and confined processes at their work.

use super::*;
use crate::sys::filter::probe::{call, child, end_of};
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket, socketpair};
use nix::sys::stat::{Mode, stat};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};
use std::os::fd::{AsFd, OwnedFd};

/// One past the highest number that is tried: above the last of Linux 6.18.
const NUMBERS: i64 = 480;
/// All bits set: no descriptor, address or length of anything, so that a call that runs does no harm.
const NOTHING: [u64; 6] = [u64::MAX; 6];
/// `uretprobe` and `uprobe` of x86_64, which the kernel runs without asking a filter (`seccomp_uprobe_exception`,
/// kernel/seccomp.c, Linux 6.14); away from their trampolines they fail.
const UNSEEN: [i64; 2] = [335, 336];
/// Exit status of a child whose call was denied.
const DENIED: i32 = 98;
/// Exit status of a child whose filter did not install.
const UNCONFINED: i32 = 99;

fn number(call: &str) -> i64 {
    ScmpSyscall::from_name(call).expect(call).as_raw_syscall().into()
}

/// Registers that meet the conditions of a rule with every bit that they leave open set.
fn registers(rule: &Rule) -> [u64; 6] {
    rule.when.iter().fold(NOTHING, |mut args, argument| {
        args[argument.index as usize] = argument.value | !argument.mask;
        args
    })
}

/// The table's own answer, by its words alone.
fn listed(who: Who, call: i64, args: [u64; 6]) -> bool {
    RULES.iter().filter(|rule| rule.is_for(who) && number(rule.call) == call).any(|rule| {
        rule.when.iter().all(|argument| args[argument.index as usize] & argument.mask == argument.value)
    })
}

fn passes(program: &Bpf, call_number: i64, args: [u64; 6]) -> bool {
    let end = end_of(|| match filter::confine(program) {
        Err(_) => UNCONFINED,
        Ok(()) if call(call_number, args) == Err(Errno::EPERM) => DENIED,
        Ok(()) => 0,
    });
    match end {
        WaitStatus::Exited(_, UNCONFINED) => panic!("the filter does not install"),
        WaitStatus::Exited(_, DENIED) | WaitStatus::Signaled(_, Signal::SIGSYS, _) => false,
        _ => true,
    }
}

#[test]
fn every_line_of_the_table_passes_and_every_near_miss_does_not() {
    for who in [Who::Broker, Who::Reader] {
        let program = build(who).expect("a filter");
        // A return from no handler takes its registers from whatever is on the stack.
        for rule in RULES.iter().filter(|rule| rule.call != "rt_sigreturn") {
            let (call, args) = (number(rule.call), registers(rule));
            assert_eq!(passes(&program, call, args), listed(who, call, args), "{who:?} {rule:?}");
            for argument in rule.when {
                for bit in (0..64).filter(|bit| argument.mask >> bit & 1 == 1) {
                    let mut missed = args;
                    missed[argument.index as usize] ^= 1 << bit;
                    let expected = listed(who, call, missed);
                    assert_eq!(passes(&program, call, missed), expected, "{who:?} {rule:?} bit {bit}");
                }
            }
        }
    }
}

#[test]
fn every_number_that_is_not_in_the_table_is_denied() {
    for who in [Who::Broker, Who::Reader] {
        let program = build(who).expect("a filter");
        for call in (0..NUMBERS).filter(|call| !UNSEEN.contains(call)).chain([0x4000_0000, 0x4000_0000 | 514])
        {
            if !RULES.iter().any(|rule| rule.is_for(who) && number(rule.call) == call) {
                assert!(!passes(&program, call, NOTHING), "{who:?} {call}");
            }
        }
    }
}

/// By name, so that a line added to the table in error fails here.
#[test]
fn ways_out_are_closed() {
    const NEITHER: &[&str] = &[
        "execve",
        "execveat",
        "fork",
        "vfork",
        "clone",
        "clone3",
        "socket",
        "connect",
        "bind",
        "listen",
        "ptrace",
        "setns",
        "unshare",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "open_tree",
        "move_mount",
        "fsopen",
        "fsmount",
        "bpf",
        "keyctl",
        "add_key",
        "request_key",
        "init_module",
        "finit_module",
        "delete_module",
        "kexec_load",
        "kexec_file_load",
        "perf_event_open",
        "io_uring_setup",
        "userfaultfd",
        "open_by_handle_at",
        "setuid",
        "setresuid",
        "setgid",
        "setresgid",
        "setgroups",
        "capset",
        "seccomp",
        "personality",
        "unlink",
        "unlinkat",
        "rename",
        "renameat2",
        "link",
        "linkat",
        "symlink",
        "mkdir",
        "mkdirat",
        "mknod",
        "mknodat",
        "chmod",
        "fchmodat",
        "chown",
        "fchownat",
        "truncate",
        "creat",
        "sethostname",
        "reboot",
        "swapon",
        "acct",
        "iopl",
        "ioperm",
        "modify_ldt",
    ];
    let (broker, reader) = (build(Who::Broker).expect("a filter"), build(Who::Reader).expect("a filter"));
    for name in NEITHER {
        assert!(!passes(&broker, number(name), NOTHING) && !passes(&reader, number(name), NOTHING), "{name}");
    }
    for name in ["openat2", "process_vm_readv"] {
        assert!(!passes(&broker, number(name), NOTHING), "broker: {name}");
    }
    for name in ["socketpair", "memfd_create", "kill", "pidfd_getfd", "dup", "accept4", "inotify_init1"] {
        assert!(!passes(&reader, number(name), [libc::AF_UNIX as u64; 6]), "reader: {name}");
    }
    let write = [u64::MAX, u64::MAX, libc::O_WRONLY as u64, 0, 0, 0];
    assert!(passes(&broker, number("openat"), write) && !passes(&reader, number("openat"), write));
    let signal = [u64::MAX, libc::SIGKILL as u64, 0, 0, 0, 0];
    assert!(passes(&broker, number("pidfd_send_signal"), signal));
    assert!(!passes(&reader, number("pidfd_send_signal"), signal));
}

/// A line of `/proc/PID/status`, as a number in base 16.
fn status(pid: Pid, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect(field);
    u64::from_str_radix(value.trim(), 16).expect(field)
}

/// A process under another uid that holds a memfd: one that may be dumped, as most are, and the number.
fn tenant() -> (Pid, i32) {
    let file = memfd_create("tenant", MFdFlags::empty()).expect("memfd");
    let number = file.as_raw_fd();
    let (ours, theirs) = pair();
    let pid = child(|| {
        // Not the sockets of the tests that run beside this one: they wait for each other's ends.
        let alone = keep_only(&[file.as_fd(), theirs.as_fd()]);
        let (uid, gid) = (Uid::from_raw(54_321), Gid::from_raw(54_321));
        let become_other =
            setgroups(&[]).and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
        let dumpable = nix::sys::prctl::set_dumpable(true);
        let brief = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
        let ready = alone.is_ok() && become_other.and(dumpable).and(brief).is_ok();
        let _ = send(theirs.as_raw_fd(), &[u8::from(ready)], MsgFlags::empty());
        std::thread::sleep(std::time::Duration::from_secs(60));
        0
    });
    let mut ready = [0];
    recv(ours.as_raw_fd(), &mut ready, MsgFlags::empty()).expect("word of the tenant");
    assert_eq!(ready, [1]);
    (pid, number)
}

fn pair() -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("socketpair")
}

/// Runs `work` in a confined child and, once it is done, looks at the child.
fn at_work(
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
    let length = recv(ours.as_raw_fd(), &mut words, MsgFlags::empty()).expect("word of the child");
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
fn a_confined_broker_can_do_its_work_and_nothing_else() {
    if !Uid::effective().is_root() {
        return;
    }
    let (tenant, file) = tenant();
    at_work(broker, BROKER_CAPABILITIES, || {
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
fn a_confined_reader_can_look_and_nothing_else() {
    if !Uid::effective().is_root() {
        return;
    }
    let (tenant, file) = tenant();
    let program = build(Who::Reader).expect("a filter");
    at_work(
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
fn only_what_is_kept_stays_open() {
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
