//! The system calls of a jailed process, one a line, with the function that needs it.
//!
//! All others kill the process. `tests.rs` runs every line, every near miss of its condition, and every number that
//! is not here, in real children.

use libc::{
    CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID, CLONE_PIDFD, ENOENT, ENOSYS, F_ADD_SEALS, F_DUPFD_CLOEXEC,
    F_GETFD, PR_SET_NAME, PR_SET_PDEATHSIG, PROT_READ, PROT_WRITE, SECCOMP_IOCTL_NOTIF_ID_VALID,
    SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_SET_MODE_FILTER, SIGABRT, SIGBUS, SIGCHLD,
    SIGKILL, SIGSEGV, STDERR_FILENO, STDOUT_FILENO,
};

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The zygote, and a worker between its fork and its own filter.
    Zygote,
    /// A worker.
    Worker,
}

/// Condition on one argument register: its bits under `mask` are `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Which register, from 0.
    pub index: u32,
    /// Bits that count.
    pub mask: u64,
    /// What they must be.
    pub value: u64,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name of the call.
    pub call: &'static str,
    /// Conditions, all of which hold.
    pub when: &'static [Argument],
    /// Whether workers may, too. What a worker may, its zygote may.
    pub worker: bool,
    /// The kernel's answer instead of the call itself.
    pub fails: Option<i32>,
    /// The function that needs it.
    pub need: &'static str,
}

impl Rule {
    /// Whether the rule is one of `who`'s.
    #[must_use]
    pub fn is_for(&self, who: Who) -> bool {
        self.worker || who == Who::Zygote
    }
}

const fn both(call: &'static str, when: &'static [Argument], need: &'static str) -> Rule {
    Rule { call, when, worker: true, fails: None, need }
}

const fn zygote(call: &'static str, when: &'static [Argument], need: &'static str) -> Rule {
    Rule { call, when, worker: false, fails: None, need }
}

/// A call that fails instead of being made.
const fn fails(call: &'static str, errno: i32, need: &'static str) -> Rule {
    Rule { call, when: ANY, worker: true, fails: Some(errno), need }
}

/// The whole register is `value`.
const fn is(index: u32, value: u64) -> Argument {
    Argument { index, mask: u64::MAX, value }
}

/// The low 32 bits are `value`, as for arguments that the kernel takes as `int`.
const fn int(index: u32, value: i32) -> Argument {
    Argument { index, mask: u32::MAX as u64, value: value.cast_unsigned() as u64 }
}

/// No bit outside `bits` is set.
const fn within(index: u32, bits: i32) -> Argument {
    Argument { index, mask: !(bits.cast_unsigned() as u64), value: 0 }
}

/// Stands for the number of the process that installs the filter, which is known only then; no process has this one
/// (`PID_MAX_LIMIT` is 2^22).
pub const OWN_PROCESS: i32 = 0x7e11_0e11;

/// Always.
const ANY: &[Argument] = &[];
/// Data only: no memory of a jailed process becomes code.
const DATA: i32 = PROT_READ | PROT_WRITE;
/// What `fork` may ask for beside its signal.
const FORK_FLAGS: u64 = (CLONE_PIDFD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID) as u64;
/// A fork and nothing else: `SIGCHLD`, no shared memory, no namespace, the caller as parent.
const A_FORK: Argument = Argument { index: 0, mask: !FORK_FLAGS, value: SIGCHLD as u64 };

/// What is added to the table where a sanitizer is loaded, which tries these calls before it prints its report, and does
/// without them.
pub const SANITIZERS: &[Rule] = &[
    fails("open", ENOENT, "AddressSanitizer, the list of mappings"),
    fails("openat", ENOENT, "the same, by other C libraries"),
    fails("readlink", ENOENT, "UBSan, the name of the program"),
    fails("readlinkat", ENOENT, "the same, by other C libraries"),
];

/// The table.
pub const RULES: &[Rule] = &[
    // The tenant's notifications.
    both("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_RECV as i32)], "sys::listener::receive"),
    both("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_SEND as i32)], "sys::listener::send"),
    both("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_ID_VALID as i32)], "sys::listener::id_valid"),
    // The inherited sockets; none can be made, connected or accepted.
    both("sendmsg", ANY, "sys::socket, an assist; in the zygote, the new worker's pidfd"),
    both("recvmsg", ANY, "sys::socket, a reply with an arena; in the zygote, a request with descriptors"),
    both("sendto", ANY, "sys::socket, a message without descriptors"),
    both("recvfrom", ANY, "sys::socket, a message without descriptors"),
    both("poll", ANY, "waiting for a socket, with a deadline"),
    both("ppoll", ANY, "waiting for a socket, with a deadline; poll where there is no such call"),
    both("close", ANY, "OwnedFd::drop"),
    both("fcntl", &[int(1, F_GETFD)], "OwnedFd::drop, where debug assertions are on"),
    // Memory.
    both("mmap", &[within(2, DATA)], "mapping an arena; malloc"),
    both("munmap", ANY, "unmapping an arena; free"),
    both("mremap", ANY, "realloc"),
    both("madvise", ANY, "free"),
    both("mprotect", &[within(2, DATA)], "malloc, growing a heap"),
    both("brk", ANY, "malloc"),
    // Time, locks, chance.
    both("futex", ANY, "std::sync"),
    both("sched_yield", ANY, "std::thread::yield_now, spinning locks"),
    both("clock_gettime", ANY, "Instant::now where the vDSO has no clock"),
    both("gettimeofday", ANY, "time in C where the vDSO has no clock"),
    both("clock_nanosleep", ANY, "thread::sleep, in handlers that emulate a delay"),
    both("nanosleep", ANY, "thread::sleep of older C libraries"),
    both("restart_syscall", ANY, "the kernel, resuming one of the two after a signal"),
    both("getrandom", ANY, "seeds of HashMap and malloc"),
    // Ending, well or not: the signal that ends a worker goes into its crash report.
    both("exit", ANY, "the end of the thread"),
    both("exit_group", ANY, "process::exit"),
    both("writev", &[int(0, STDERR_FILENO)], "malloc, saying that its heap is broken"),
    both("getpid", ANY, "abort"),
    both("gettid", ANY, "abort"),
    both("tgkill", &[int(0, OWN_PROCESS), int(2, SIGABRT)], "abort"),
    // Its filter stays on the workers, whose own lets each signal itself alone: their uid may be others', too.
    zygote("tgkill", &[int(2, SIGABRT)], "abort"),
    both("rt_sigprocmask", ANY, "abort; fork"),
    both("rt_sigaction", &[int(0, SIGABRT)], "abort, when a handler returned"),
    both(
        "rt_sigaction",
        &[int(0, SIGSEGV)],
        "std's handler of stack overflow, giving back a fault that is none",
    ),
    both("rt_sigaction", &[int(0, SIGBUS)], "the same"),
    both("rt_sigreturn", ANY, "the return from that handler"),
    both("sigaltstack", ANY, "that handler's stack"),
    // Files that a handler may give to its caller: memory and pipes, of which it has no other use. Reading and writing is
    // not bound to them: the descriptors that a worker has besides are sockets, which it may write to as well.
    both("memfd_create", ANY, "handlers, Answer::Descriptor"),
    both("pipe2", ANY, "handlers, Answer::Descriptor"),
    both("eventfd2", ANY, "handlers, Answer::Descriptor"),
    both("ftruncate", ANY, "handlers, the size of a memfd"),
    both("fcntl", &[int(1, F_ADD_SEALS)], "handlers, sealing a memfd"),
    both("fcntl", &[int(1, F_DUPFD_CLOEXEC)], "handlers, OwnedFd::try_clone"),
    both("lseek", ANY, "handlers, File::seek"),
    both("read", ANY, "handlers, a memfd or pipe"),
    both("write", ANY, "handlers, a memfd or pipe; panic messages; println, which leads to /dev/null"),
    both("pread64", ANY, "handlers, a memfd"),
    both("pwrite64", ANY, "handlers, a memfd"),
    // Forking workers.
    zygote("clone", &[A_FORK], "fork"),
    Rule {
        call: "clone3",
        when: ANY,
        worker: false,
        fails: Some(ENOSYS),
        need: "fork: its flags are in memory",
    },
    zygote("set_robust_list", ANY, "fork, in the child"),
    zygote("rseq", ANY, "fork, in the child"),
    zygote("dup3", &[int(1, STDOUT_FILENO), int(2, 0)], "fork::redirect"),
    zygote("dup3", &[int(1, STDERR_FILENO), int(2, 0)], "fork::redirect"),
    zygote("wait4", ANY, "reaping workers"),
    zygote("waitid", ANY, "reaping workers"),
    zygote("getppid", ANY, "jail::die_with"),
    zygote("prctl", &[int(0, PR_SET_NAME)], "naming a worker"),
    zygote("prctl", &[int(0, PR_SET_PDEATHSIG), is(1, SIGKILL as u64)], "jail::die_with"),
    zygote("seccomp", &[int(0, SECCOMP_SET_MODE_FILTER.cast_signed()), int(1, 0)], "WorkerJail::enter"),
];
