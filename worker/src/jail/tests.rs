//! The table against the filter that results, by real calls in real children; and a jailed process seen from outside.

use super::rules::{RULES, Rule};
use super::*;
use crate::sys::jail::probe::{call, child, end_of, fault};
use libseccomp::ScmpSyscall;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::wait::WaitStatus;
use std::os::fd::AsRawFd;

/// One past the highest number that is tried: above the last of Linux 6.18.
const NUMBERS: i64 = 480;
/// All bits set: no descriptor, address or length of anything, so that a call that runs does no harm.
const NOTHING: [u64; 6] = [u64::MAX; 6];

/// `uretprobe` and `uprobe` of x86_64, which the kernel runs without asking a filter (`seccomp_uprobe_exception`,
/// kernel/seccomp.c, Linux 6.14); away from their trampolines they fail.
const UNSEEN: [i64; 2] = [335, 336];
/// Exit status of a child whose filter did not install.
const UNJAILED: i32 = 99;

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

/// Whether a child under the filter of `who` survives the call, or at least does not die of `SIGSYS`.
fn passes(program: &Program, call_number: i64, args: [u64; 6]) -> bool {
    let end = end_of(|| {
        let jailed = nix::sys::prctl::set_no_new_privs().and_then(|()| program.install());
        if jailed.is_err() {
            return UNJAILED;
        }
        call(call_number, args);
        0
    });
    match end {
        WaitStatus::Exited(_, UNJAILED) => panic!("the filter does not install"),
        WaitStatus::Signaled(_, Signal::SIGSYS, _) => false,
        _ => true,
    }
}

#[test]
fn every_line_of_the_table_passes_and_every_near_miss_kills() {
    for who in [Who::Zygote, Who::Worker] {
        let program = filter::build(who).expect("a filter");
        // A return from no handler takes its registers from whatever is on the stack: see the test of faults.
        for rule in RULES.iter().filter(|rule| rule.call != "rt_sigreturn") {
            let (call, args) = (number(rule.call), registers(rule));
            assert_eq!(passes(&program, call, args), rule.is_for(who), "{who:?} {rule:?}");
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
fn every_number_that_is_not_in_the_table_kills() {
    for who in [Who::Zygote, Who::Worker] {
        let program = filter::build(who).expect("a filter");
        for call in (0..NUMBERS).filter(|call| !UNSEEN.contains(call)).chain([0x4000_0000, 0x4000_0000 | 514])
        {
            let rules = || RULES.iter().filter(|rule| rule.is_for(who) && number(rule.call) == call);
            if rules().next().is_none() {
                assert!(!passes(&program, call, NOTHING), "{who:?} {call}");
                assert!(!passes(&program, call, [0; 6]), "{who:?} {call} with zeroes");
            }
        }
    }
}

/// The ways out that an attacker tries first, by name, so that a line added to the table in error fails here.
#[test]
fn ways_out_are_closed() {
    const CALLS: &[&str] = &[
        "open",
        "openat",
        "openat2",
        "creat",
        "socket",
        "socketpair",
        "connect",
        "bind",
        "accept4",
        "execve",
        "execveat",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "kill",
        "tkill",
        "rt_sigqueueinfo",
        "rt_tgsigqueueinfo",
        "pidfd_open",
        "pidfd_getfd",
        "pidfd_send_signal",
        "setns",
        "unshare",
        "mount",
        "umount2",
        "pivot_root",
        "chroot",
        "open_tree",
        "move_mount",
        "fsopen",
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "perf_event_open",
        "io_uring_setup",
        "io_uring_enter",
        "userfaultfd",
        "memfd_secret",
        "fork",
        "vfork",
        "setuid",
        "setresuid",
        "capset",
        "personality",
        "init_module",
        "finit_module",
        "kexec_load",
        "shmget",
        "shmat",
        "msgget",
        "semget",
        "mq_open",
        "pkey_mprotect",
        "remap_file_pages",
        "process_madvise",
        "process_mrelease",
        "fallocate",
        "fcntl",
        "dup",
        "dup2",
        "dup3",
        "sendfile",
        "splice",
        "vmsplice",
        "getdents64",
        "statx",
        "prlimit64",
        "setrlimit",
        "sched_setaffinity",
        "modify_ldt",
        "arch_prctl",
        "quotactl",
        "reboot",
        "swapon",
        "acct",
        "syslog",
        "inotify_init1",
        "fanotify_init",
        "name_to_handle_at",
        "kcmp",
    ];
    let worker = filter::build(Who::Worker).expect("a filter");
    let zygote = filter::build(Who::Zygote).expect("a filter");
    for name in CALLS {
        assert!(!passes(&worker, number(name), NOTHING) && !passes(&zygote, number(name), NOTHING), "{name}");
    }
    let exec = libc::PROT_EXEC as u64;
    let new_user = (libc::CLONE_NEWUSER | libc::SIGCHLD) as u64;
    let arguments = [
        ("mmap", [0, 4096, exec | 1, 0x22, u64::MAX, 0]),
        ("mprotect", [0, 0, exec, 0, 0, 0]),
        ("mprotect", [0, 0, exec | 3, 0, 0, 0]),
        ("ioctl", [0, libc::TIOCSTI, 0, 0, 0, 0]),
        ("ioctl", [3, libc::SECCOMP_IOCTL_NOTIF_ADDFD, 0, 0, 0, 0]),
        ("ioctl", [3, libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, 0, 0, 0, 0]),
        ("tgkill", [1, 1, libc::SIGKILL as u64, 0, 0, 0]),
        ("clone", [new_user, 0, 0, 0, 0, 0]),
        ("clone", [(libc::CLONE_PARENT | libc::SIGCHLD) as u64, 0, 0, 0, 0, 0]),
        ("prctl", [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0]),
        ("prctl", [libc::PR_SET_PDEATHSIG as u64, 0, 0, 0, 0, 0]),
        ("seccomp", [1, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, 0, 0, 0, 0]),
    ];
    for (name, args) in arguments {
        assert!(
            !passes(&worker, number(name), args) && !passes(&zygote, number(name), args),
            "{name} {args:x?}"
        );
    }
    for name in ["clone", "clone3", "prctl", "seccomp", "wait4", "getppid"] {
        assert!(!passes(&worker, number(name), [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]), "worker: {name}");
    }
}

const USER: u32 = 54_321;
const GROUP: u32 = 54_322;

/// A line of `/proc/PID/status`.
fn status(pid: Pid, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect(field).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Jails a child, forks a jailed worker from it, and looks at both while they wait.
#[test]
fn a_jailed_zygote_and_its_worker_seen_from_outside() {
    if !Uid::effective().is_root() {
        return;
    }
    let pair =
        || socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("pair");
    let (ours, theirs) = pair();
    let config = JailConfig {
        uid: USER,
        gid: GROUP,
        parent: std::process::id(),
        keep: vec![theirs.as_raw_fd(), 2, 2],
    };
    // A death signal comes when the *thread* that forked ends: this one waits below.
    let socket = theirs.as_raw_fd();
    let zygote = child(|| {
        let jail = match enter_zygote(&config, || Ok::<(), JailError>(())) {
            Ok((jail, ())) => jail,
            Err(error) => {
                eprintln!("{error}");
                return 1;
            }
        };
        let worker = child(|| match jail.enter() {
            Ok(()) => converse(socket),
            Err(_) => 1,
        });
        let _ = send(socket, &worker.as_raw().to_ne_bytes(), MsgFlags::empty());
        match nix::sys::wait::waitpid(worker, None) {
            Ok(WaitStatus::Exited(_, 0)) => 0,
            _ => 1,
        }
    });
    drop(theirs);
    let mut bytes = [0; 8];
    let mut worker = None;
    // The worker's greeting and the zygote's word come in either order.
    for _ in 0..2 {
        if recv(ours.as_raw_fd(), &mut bytes, MsgFlags::empty()).expect("message") == 4 {
            worker = Some(Pid::from_raw(bytes.as_chunks().0.first().copied().map_or(0, i32::from_ne_bytes)));
        }
    }
    let worker = worker.expect("the zygote's word");
    for (pid, filters) in [(zygote, "1"), (worker, "2")] {
        assert_eq!(status(pid, "Uid"), [(); 4].map(|()| USER.to_string()).join(" "));
        assert_eq!(status(pid, "Gid"), [(); 4].map(|()| GROUP.to_string()).join(" "));
        assert_eq!(status(pid, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        assert_eq!(
            (status(pid, "Seccomp").as_str(), status(pid, "Seccomp_filters").as_str()),
            ("2", filters)
        );
        let mut fds: Vec<i32> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("fd")
            .map(|entry| entry.expect("entry").file_name().to_str().expect("number").parse().expect("number"))
            .collect();
        fds.sort_unstable();
        assert_eq!(fds, [0, 1, 2, socket]);
        for null in [0, 1] {
            let target = std::fs::read_link(format!("/proc/{pid}/fd/{null}")).expect("link");
            assert_eq!(target.to_str(), Some("/dev/null"));
        }
        // Not dumpable: /proc/PID belongs to root though the process does not.
        let owner = std::os::unix::fs::MetadataExt::uid(
            &std::fs::metadata(format!("/proc/{pid}/environ")).expect("stat"),
        );
        assert_eq!(owner, 0);
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        for (name, most) in [("Max open files", "64"), ("Max processes", "64"), ("Max core file size", "0")] {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), [most; 2], "{name}");
        }
    }
    send(ours.as_raw_fd(), b"end", MsgFlags::empty()).expect("send");
    assert_eq!(nix::sys::wait::waitpid(zygote, None), Ok(WaitStatus::Exited(zygote, 0)));
}

/// What a worker does besides: says hello, allocates, waits for the end.
fn converse(socket: RawFd) -> i32 {
    let big = vec![1u8; 4 << 20];
    let seeded: std::collections::HashMap<u8, u8> = [(1, big[5])].into();
    let mut bytes = [0; 3];
    let hello = send(socket, b"hello", MsgFlags::empty());
    let end = recv(socket, &mut bytes, MsgFlags::empty());
    if hello.is_ok() && end == Ok(3) && seeded.len() == 1 { 0 } else { 1 }
}

#[test]
fn a_worker_that_aborts_or_faults_dies_of_that() {
    let program = filter::build(Who::Worker).expect("a filter");
    let jailed = |body: fn()| {
        end_of(|| {
            let jailed = nix::sys::prctl::set_no_new_privs().and_then(|()| program.install());
            if jailed.is_err() {
                return UNJAILED;
            }
            body();
            0
        })
    };
    assert!(matches!(jailed(|| std::process::abort()), WaitStatus::Signaled(_, Signal::SIGABRT, _)));
    // std's handler is in place. The address is on no guard page, so it sets the default action (rt_sigaction) and
    // returns (rt_sigreturn), and the fault comes again.
    assert!(matches!(jailed(fault), WaitStatus::Signaled(_, Signal::SIGSEGV, _)));
}

#[test]
fn root_and_a_wrong_parent_are_refused() {
    let config = JailConfig { uid: 0, gid: GROUP, parent: 1, keep: vec![] };
    assert!(matches!(enter_zygote(&config, || Ok::<(), JailError>(())), Err(JailError::Root { .. })));
    let config = JailConfig { uid: USER, gid: GROUP, parent: 1, keep: vec![2] };
    if Uid::effective().is_root() {
        let end = end_of(|| {
            i32::from(matches!(enter_zygote(&config, || Ok::<(), JailError>(())), Err(JailError::Orphan)))
        });
        assert!(matches!(end, WaitStatus::Exited(_, 1)), "{end:?}");
    }
}
