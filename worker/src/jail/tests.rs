//! Tables against their filters, by real calls in real children.

mod live;

use super::*;
use kcov_sys::StepError;
use kcov_sys::probe::{end_of, fault};
use kcov_sys::rules::check::{Confined, UNCONFINED, number};
use kcov_sys::rules::{OWN_PROCESS, Rule, build};
use nix::errno::Errno;
use nix::sys::wait::WaitStatus;

/// A process under the filter of these tables.
fn jailed(tables: &[&[Rule]], check: impl FnOnce(&Confined<'_>)) {
    let program = build(tables, rules::DENIAL).expect("a filter");
    check(&Confined { tables, denial: rules::DENIAL, install: &|| jail(&program) });
}

fn jail(program: &Bpf) -> Result<(), Errno> {
    nix::sys::prctl::set_no_new_privs()?;
    match enforce(&mut program.clone()) {
        Err(JailError::Step(StepError { errno, .. })) => Err(errno),
        result => result.map_err(|_| Errno::UnknownErrno),
    }
}

#[test]
fn filters_follow_the_tables() {
    for tables in [rules::WORKER, rules::ZYGOTE] {
        jailed(tables, |process| {
            process.assert_rules(rules::ZYGOTE);
            process.assert_other_numbers_are_denied();
        });
    }
}

/// What an attacker tries first, by name, so that a rule that is added to a table by mistake fails here.
#[test]
fn calls_that_lead_out_are_denied() {
    #[rustfmt::skip]
    const CALLS: &[&str] = &[
        "open", "openat", "openat2", "creat", "socket", "socketpair", "connect", "bind", "accept4",
        "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "kill", "tkill",
        "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "setns",
        "unshare", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen",
        "keyctl", "add_key", "request_key", "bpf", "perf_event_open", "io_uring_setup", "io_uring_enter",
        "userfaultfd", "memfd_secret", "fork", "vfork", "setuid", "setresuid", "capset", "personality",
        "init_module", "finit_module", "kexec_load", "shmget", "shmat", "msgget", "semget", "mq_open",
        "pkey_mprotect", "remap_file_pages", "process_madvise", "process_mrelease", "fallocate", "fcntl",
        "dup", "dup2", "dup3", "sendfile", "splice", "vmsplice", "getdents64", "statx", "prlimit64",
        "setrlimit", "sched_setaffinity", "modify_ldt", "arch_prctl", "quotactl", "reboot", "swapon",
        "acct", "syslog", "inotify_init1", "fanotify_init", "name_to_handle_at", "kcmp",
    ];
    for tables in [rules::WORKER, rules::ZYGOTE] {
        jailed(tables, |process| process.assert_denied(CALLS));
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
        for tables in [rules::WORKER, rules::ZYGOTE] {
            jailed(tables, |process| assert!(!process.allows(number(name), args), "{name} {args:x?}"));
        }
    }
    // No process has the highest number.
    let another = [i32::MAX as u64, 1, libc::SIGABRT as u64, 0, 0, 0];
    jailed(rules::WORKER, |worker| {
        assert!(!worker.allows(number("tgkill"), another));
        for name in ["clone", "clone3", "prctl", "seccomp", "wait4", "getppid"] {
            assert!(!worker.allows(number(name), [libc::SIGCHLD as u64, 0, 0, 0, 0, 0]), "{name}");
        }
    });
}

#[test]
fn a_worker_that_aborts_or_faults_dies_of_that() {
    let program = build(rules::WORKER, rules::DENIAL).expect("a filter");
    let jailed = |body: fn()| {
        end_of(|| {
            if jail(&program).is_err() {
                return UNCONFINED;
            }
            body();
            0
        })
    };
    assert!(matches!(jailed(|| std::process::abort()), WaitStatus::Signaled(_, Signal::SIGABRT, _)));
    // The address is not on a guard page, so std's handler restores the default action (rt_sigaction) and
    // returns (rt_sigreturn), and the fault occurs again.
    assert!(matches!(jailed(fault), WaitStatus::Signaled(_, Signal::SIGSEGV, _)));
}
