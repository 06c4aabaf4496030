//! The table against the filter that results, by real calls in real children.

mod live;

use super::rules::{OWN_PROCESS, RULES, Rule};
use super::*;
use crate::sys::jail::probe::{call, end_of, fault};
use libseccomp::ScmpSyscall;
use nix::sys::wait::WaitStatus;

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

/// The registers in the process that makes the call: its own number where the table says so.
fn own(args: [u64; 6]) -> [u64; 6] {
    let own = Pid::this().as_raw().cast_unsigned();
    args.map(|arg| match arg as u32 == OWN_PROCESS.cast_unsigned() {
        true => arg >> 32 << 32 | u64::from(own),
        false => arg,
    })
}

/// The table's own answer, by its words alone.
fn listed(who: Who, call: i64, args: [u64; 6]) -> bool {
    RULES.iter().filter(|rule| rule.is_for(who) && number(rule.call) == call).any(|rule| {
        rule.when.iter().all(|argument| args[argument.index as usize] & argument.mask == argument.value)
    })
}

/// Whether a child under the filter of `who` survives the call, or at least does not die of `SIGSYS`.
fn passes(program: &mut Program, call_number: i64, args: [u64; 6]) -> bool {
    let end = end_of(|| {
        let args = own(args);
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
        let mut program = filter::build(who).expect("a filter");
        // A return from no handler takes its registers from whatever is on the stack: see the test of faults.
        for rule in RULES.iter().filter(|rule| rule.call != "rt_sigreturn") {
            let (call, args) = (number(rule.call), registers(rule));
            assert_eq!(passes(&mut program, call, args), rule.is_for(who), "{who:?} {rule:?}");
            for argument in rule.when {
                for bit in (0..64).filter(|bit| argument.mask >> bit & 1 == 1) {
                    let mut missed = args;
                    missed[argument.index as usize] ^= 1 << bit;
                    let expected = listed(who, call, missed);
                    assert_eq!(passes(&mut program, call, missed), expected, "{who:?} {rule:?} bit {bit}");
                }
            }
        }
    }
}

#[test]
fn every_number_that_is_not_in_the_table_kills() {
    for who in [Who::Zygote, Who::Worker] {
        let mut program = filter::build(who).expect("a filter");
        for call in (0..NUMBERS).filter(|call| !UNSEEN.contains(call)).chain([0x4000_0000, 0x4000_0000 | 514])
        {
            let rules = || RULES.iter().filter(|rule| rule.is_for(who) && number(rule.call) == call);
            if rules().next().is_none() {
                assert!(!passes(&mut program, call, NOTHING), "{who:?} {call}");
                assert!(!passes(&mut program, call, [0; 6]), "{who:?} {call} with zeroes");
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
    let mut worker = filter::build(Who::Worker).expect("a filter");
    let mut zygote = filter::build(Who::Zygote).expect("a filter");
    for name in CALLS {
        assert!(
            !passes(&mut worker, number(name), NOTHING) && !passes(&mut zygote, number(name), NOTHING),
            "{name}"
        );
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
        ("tgkill", [OWN_PROCESS as u64, 1, libc::SIGKILL as u64, 0, 0, 0]),
        ("clone", [new_user, 0, 0, 0, 0, 0]),
        ("clone", [(libc::CLONE_PARENT | libc::SIGCHLD) as u64, 0, 0, 0, 0, 0]),
        ("prctl", [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0]),
        ("prctl", [libc::PR_SET_PDEATHSIG as u64, 0, 0, 0, 0, 0]),
        ("seccomp", [1, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, 0, 0, 0, 0]),
    ];
    for (name, args) in arguments {
        assert!(
            !passes(&mut worker, number(name), args) && !passes(&mut zygote, number(name), args),
            "{name} {args:x?}"
        );
    }
    // No process has the highest number.
    let another = [i32::MAX as u64, 1, libc::SIGABRT as u64, 0, 0, 0];
    assert!(!passes(&mut worker, number("tgkill"), another));
    for name in ["clone", "clone3", "prctl", "seccomp", "wait4", "getppid"] {
        assert!(!passes(&mut worker, number(name), [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]), "worker: {name}");
    }
}

#[test]
fn a_worker_that_aborts_or_faults_dies_of_that() {
    let mut program = filter::build(Who::Worker).expect("a filter");
    let mut jailed = |body: fn()| {
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
