//! The system calls of a jailed process, one a line, with the code that needs it.
//!
//! All others kill the process, by a trap: `sys::crash` first reports where it was. `tests.rs` makes every
//! call of the tables, every near miss of their conditions, and every other number, in real children.

use kcov_sys::filter::{Bpf, BuildError};
use kcov_sys::rules::{ANY, Argument, Denial, OWN_PROCESS, RUNTIME, Rule, build};
use libc::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, ENOENT, ENOSYS, F_ADD_SEALS, F_DUPFD_CLOEXEC, F_GETFD,
    MFD_ALLOW_SEALING, MFD_CLOEXEC, MFD_NOEXEC_SEAL, O_CLOEXEC, O_DIRECT, O_NONBLOCK, PR_SET_NAME,
    PR_SET_PDEATHSIG, SECCOMP_IOCTL_NOTIF_ID_VALID, SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND,
    SECCOMP_SET_MODE_FILTER, SIGABRT, SIGBUS, SIGCHLD, SIGKILL, SIGSEGV, STDERR_FILENO, STDOUT_FILENO,
};

/// The tables of a worker.
pub const WORKER: &[&[Rule]] = &[RUNTIME, BOTH];
/// The tables of a zygote, and of a worker between its fork and its own filter.
pub const ZYGOTE: &[&[Rule]] = &[RUNTIME, BOTH, ZYGOTE_ONLY];
/// What happens to other calls.
pub const DENIAL: Denial = Denial::Trap;

const fn allow(call: &'static str, when: &'static [Argument], need: &'static str) -> Rule {
    Rule::allow(call, when, need)
}

const fn int(index: u32, value: i32) -> Argument {
    Argument::int(index, value)
}

/// Flags that `fork` may pass besides its signal.
const FORK_FLAGS: u64 = (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID) as u64;
/// A fork and nothing else: `SIGCHLD`, no shared memory, no namespace, the caller as parent.
const A_FORK: Argument = Argument { index: 0, mask: !FORK_FLAGS, value: SIGCHLD as u64 };

/// Flags of a memfd. Not among them: `MFD_HUGETLB`, whose pages no resource limit counts.
const MEMFD: u32 = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL;
/// Flags of a pipe. Not among them: `O_NOTIFICATION_PIPE`, which makes a queue of kernel events.
const PIPE: u32 = (O_CLOEXEC | O_NONBLOCK | O_DIRECT).cast_unsigned();

const BOTH: &[Rule] = &[
    // The tenant's notifications.
    allow("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_RECV as i32)], "listener::receive_into_slot"),
    allow("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_SEND as i32)], "listener::send"),
    // Workers do not call it, but the tests of captured workers do. It tells less than SEND.
    allow("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_ID_VALID as i32)], "tests/handlers/escape.c"),
    allow("fcntl", &[int(1, F_GETFD)], "OwnedFd::drop of debug builds, asserting that it is open"),
    // Time, for handlers.
    allow("sched_yield", ANY, "std::thread::yield_now, spinning locks"),
    allow("gettimeofday", ANY, "time in C where the vDSO has no clock"),
    // A fault or an abort, which goes into the crash report.
    allow("writev", &[int(0, STDERR_FILENO)], "malloc, reporting a corrupted heap"),
    allow("tgkill", &[int(0, OWN_PROCESS), int(2, SIGABRT)], "abort"),
    allow("rt_sigaction", &[int(0, SIGABRT)], "abort, if a handler returned"),
    allow(
        "rt_sigaction",
        &[int(0, SIGSEGV)],
        "std's handler of stack overflow, restoring the default action",
    ),
    allow("rt_sigaction", &[int(0, SIGBUS)], "the same"),
    // Files that a handler may return to its caller: memfds, pipes and eventfds. Reading and writing is not
    // restricted to them: the other descriptors of a worker are sockets, which it may write to as well.
    allow("memfd_create", &[Argument::masked(1, !MEMFD, 0)], "handlers, Answer::Descriptor"),
    allow("pipe2", &[Argument::masked(1, !PIPE, 0)], "handlers, Answer::Descriptor"),
    allow("eventfd2", ANY, "handlers, Answer::Descriptor"),
    allow("ftruncate", ANY, "handlers, the size of a memfd"),
    allow("fcntl", &[int(1, F_ADD_SEALS)], "handlers, sealing a memfd"),
    allow("fcntl", &[int(1, F_DUPFD_CLOEXEC)], "handlers, OwnedFd::try_clone"),
    allow("lseek", ANY, "handlers, File::seek"),
    allow("read", ANY, "handlers, a memfd or pipe"),
    allow("write", ANY, "handlers, a memfd or pipe; panic messages; println, which goes to /dev/null"),
    allow("pread64", ANY, "handlers, a memfd"),
    allow("pwrite64", ANY, "handlers, a memfd"),
];

const ZYGOTE_ONLY: &[Rule] = &[
    allow("clone", &[A_FORK], "fork"),
    Rule::fail("clone3", ENOSYS, "fork, in other C libraries, which then use clone: its flags are in memory"),
    allow("set_robust_list", ANY, "fork, in the child"),
    allow("dup3", &[int(1, STDOUT_FILENO), int(2, 0)], "fork::redirect_output"),
    allow("dup3", &[int(1, STDERR_FILENO), int(2, 0)], "fork::redirect_output"),
    // The zygote's filter stays in force in the workers, whose own restricts each to itself.
    allow("tgkill", &[int(2, SIGABRT)], "abort"),
    allow("wait4", ANY, "reaping workers"),
    allow("getppid", ANY, "jail::die_with"),
    allow("prctl", &[int(0, PR_SET_NAME)], "naming a worker"),
    allow("prctl", &[int(0, PR_SET_PDEATHSIG), Argument::is(1, SIGKILL as u64)], "jail::die_with"),
    allow("seccomp", &[int(0, SECCOMP_SET_MODE_FILTER.cast_signed()), int(1, 0)], "WorkerJail::enter"),
];

/// What a sanitizer needs: it tries these calls before it prints its report, and works without them.
const SANITIZERS: &[Rule] = &[
    Rule::fail("open", ENOENT, "AddressSanitizer, the list of mappings"),
    Rule::fail("openat", ENOENT, "the same, in other C libraries"),
    Rule::fail("readlink", ENOENT, "UBSan, the name of the program"),
    Rule::fail("readlinkat", ENOENT, "the same, in other C libraries"),
];

/// Builds the filter of these tables, with the rules for a sanitizer if this process may have one.
///
/// # Errors
/// [`BuildError`], which names the step.
pub fn filter(tables: &[&[Rule]]) -> Result<Bpf, BuildError> {
    // The broker passes a zygote its whole environment, so a preloaded library can only be a sanitizer.
    match std::env::var_os("LD_PRELOAD") {
        Some(_) => build(&[tables, &[SANITIZERS]].concat(), DENIAL),
        None => build(tables, DENIAL),
    }
}
