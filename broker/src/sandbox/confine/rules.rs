//! The system calls of the broker and of readers, one a line, with what needs it.
//!
//! Missing on purpose, for both: `execve`, `clone` (neither starts anything once confined), `socket`, `connect`, `bind`,
//! `ptrace`, `setns`, `unshare`, `mount` and its kin, `bpf`, `keyctl`, modules, and every way to change ids. For the
//! broker `openat2`, whose flags are in memory, and `process_vm_readv`: it never touches a tenant's memory or files.

use libc::{
    AF_UNIX, F_GETFD, FIONBIO, O_ACCMODE, O_CREAT, O_TRUNC, PR_SET_NAME, PROT_READ, PROT_WRITE,
    SECCOMP_IOCTL_NOTIF_ADDFD, SECCOMP_IOCTL_NOTIF_ID_VALID, SECCOMP_IOCTL_NOTIF_RECV,
    SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SIGABRT, STDERR_FILENO, TCGETS,
};

/// Who may make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The broker.
    Broker,
    /// A reader.
    Reader,
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
    /// Whose it is; both if `None`.
    pub only: Option<Who>,
    /// What needs it.
    pub need: &'static str,
}

impl Rule {
    /// Whether the rule is one of `who`'s.
    #[must_use]
    pub fn is_for(&self, who: Who) -> bool {
        self.only.is_none_or(|only| only == who)
    }
}

const fn both(call: &'static str, when: &'static [Argument], need: &'static str) -> Rule {
    Rule { call, when, only: None, need }
}

const fn broker(call: &'static str, when: &'static [Argument], need: &'static str) -> Rule {
    Rule { call, when, only: Some(Who::Broker), need }
}

const fn reader(call: &'static str, when: &'static [Argument], need: &'static str) -> Rule {
    Rule { call, when, only: Some(Who::Reader), need }
}

/// The low 32 bits are `value`, as for arguments that the kernel takes as `int`.
const fn int(index: u32, value: i32) -> Argument {
    masked(index, u32::MAX, value.cast_unsigned())
}

/// The bits under `mask` are `value`.
const fn masked(index: u32, mask: u32, value: u32) -> Argument {
    Argument { index, mask: mask as u64, value: value as u64 }
}

/// No bit outside `bits` is set.
const fn within(index: u32, bits: i32) -> Argument {
    Argument { index, mask: !(bits.cast_unsigned() as u64), value: 0 }
}

/// Always.
const ANY: &[Argument] = &[];
/// Data only: no memory of a confined process becomes code.
const DATA: i32 = PROT_READ | PROT_WRITE;
/// `__O_TMPFILE`, without the `O_DIRECTORY` that `O_TMPFILE` implies: makes a file as well.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
/// Flags of opens that make a file.
const MAKES: u32 = (O_CREAT | TMPFILE).cast_unsigned();
/// Flags of opens that make or change one; read-only and `O_PATH` have none of them.
const CHANGES: u32 = MAKES | (O_ACCMODE | O_TRUNC).cast_unsigned();
/// `PIDFD_GET_INFO`, of which the size of its structure is left open: type 0xff, number 11.
const PIDFD_GET_INFO: Argument = masked(1, 0xffff, 0xff0b);

/// The table.
pub const RULES: &[Rule] = &[
    // Listeners and tasks.
    both("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_ID_VALID as i32)], "whether a notification is still pending"),
    both(
        "ioctl",
        &[int(1, SECCOMP_IOCTL_NOTIF_SEND as i32)],
        "answering for a dead worker; letting an open go on",
    ),
    broker("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_ADDFD as i32)], "giving the caller its descriptor"),
    broker(
        "ioctl",
        &[int(1, SECCOMP_IOCTL_NOTIF_RECV as i32)],
        "brokered dispatch; a listener without a worker",
    ),
    broker("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_SET_FLAGS as i32)], "SYNC_WAKE_UP"),
    both("ioctl", &[PIDFD_GET_INFO], "whose task a pidfd is"),
    both("pidfd_open", ANY, "holding a task by what cannot be recycled"),
    broker("pidfd_send_signal", ANY, "killing workers; the operator's signals to the command"),
    reader("pidfd_send_signal", &[int(1, 0)], "whether a task still has its number"),
    broker("pidfd_getfd", ANY, "taking a listener; the file behind a caller's descriptor"),
    broker("kill", ANY, "signals to the command's group; ending whom a killed spawner leaves behind"),
    broker("wait4", ANY, "reaping the spawner, and whom it leaves behind"),
    broker("waitid", ANY, "reaping the spawner"),
    reader("process_vm_readv", ANY, "the caller's memory"),
    reader("process_vm_writev", ANY, "the caller's memory, for a handler"),
    // Files.
    broker("openat", &[masked(2, MAKES, 0)], "procfs; re-opening an arena through it"),
    broker("open", &[masked(1, MAKES, 0)], "the same, by C libraries that use it"),
    reader("openat", &[masked(2, CHANGES, 0)], "procfs; a step of a path"),
    reader("openat2", ANY, "a path in the caller's root; what it opens it never writes"),
    both("statx", ANY, "identity of a file"),
    both("fstat", ANY, "the same, in the C library"),
    both("newfstatat", ANY, "the same"),
    both("statfs", ANY, "kind of a file system"),
    both("fstatfs", ANY, "kind of a file system"),
    both("readlink", ANY, "a magic link"),
    both("readlinkat", ANY, "a step of a path"),
    both("read", ANY, "procfs"),
    both("pread64", ANY, "procfs"),
    both("lseek", ANY, "File::read_to_end, asking how much is left"),
    broker("getdents64", ANY, "counting descriptors and threads"),
    broker("write", ANY, "the log, the report, an eventfd"),
    broker("writev", ANY, "the same"),
    reader("write", &[int(0, STDERR_FILENO)], "panic messages"),
    reader("writev", &[int(0, STDERR_FILENO)], "malloc, saying that its heap is broken"),
    broker("pwrite64", ANY, "the report"),
    broker("fsync", ANY, "the report"),
    broker("ioctl", &[int(1, TCGETS as i32)], "whether the log goes to a terminal"),
    both("close", ANY, "OwnedFd::drop"),
    reader("fcntl", &[int(1, F_GETFD)], "OwnedFd::drop, where debug assertions are on"),
    broker("fcntl", ANY, "seals, leases, flags"),
    reader("fcntl", &[int(1, F_GETFD)], "OwnedFd::drop of debug builds, asserting that it is open"),
    broker("dup", ANY, "a listener for one more worker"),
    broker("dup3", ANY, "the same"),
    broker("memfd_create", ANY, "an arena, a slot"),
    broker("pipe2", ANY, "what a worker writes"),
    broker("ftruncate", ANY, "the size of one"),
    broker("fchmod", ANY, "mode 0600, as the kernel's file has"),
    broker("fallocate", ANY, "punching out an arena that is gone"),
    broker("inotify_init1", ANY, "the closing of arenas"),
    broker("inotify_add_watch", ANY, "the closing of arenas"),
    broker("inotify_rm_watch", ANY, "the closing of arenas"),
    // Sockets that are there already, and pairs of them.
    broker("socketpair", &[int(0, AF_UNIX)], "sockets of a new worker"),
    both("sendmsg", ANY, "messages with descriptors"),
    both("recvmsg", ANY, "messages with descriptors"),
    both("sendto", ANY, "messages"),
    both("recvfrom", ANY, "messages"),
    broker("accept4", ANY, "a container runtime handing over a listener"),
    broker("getsockopt", ANY, "whom a connection is from"),
    broker("setsockopt", ANY, "size of a socket's buffer"),
    broker("shutdown", ANY, "ending a conversation"),
    broker("ioctl", &[int(1, FIONBIO as i32)], "UnixStream::set_nonblocking"),
    // Waiting.
    both("poll", ANY, "waiting for a socket"),
    both("ppoll", ANY, "waiting for a socket"),
    broker("epoll_create1", ANY, "the event loop"),
    broker("epoll_ctl", ANY, "the event loop"),
    broker("epoll_wait", ANY, "the event loop"),
    broker("epoll_pwait", ANY, "the event loop"),
    broker("epoll_pwait2", ANY, "the event loop"),
    broker("eventfd2", ANY, "the event loop"),
    broker("timerfd_create", ANY, "deadlines"),
    broker("timerfd_settime", ANY, "deadlines"),
    broker("timerfd_gettime", ANY, "deadlines"),
    broker("setitimer", ANY, "an end to RECV, which knows no O_NONBLOCK"),
    broker("signalfd4", ANY, "the operator's signals"),
    both("futex", ANY, "std::sync"),
    both("sched_yield", ANY, "std::thread::yield_now"),
    both("clock_gettime", ANY, "Instant::now where the vDSO has no clock"),
    both("gettimeofday", ANY, "the C library, where the vDSO has no clock"),
    both("clock_nanosleep", ANY, "thread::sleep"),
    both("nanosleep", ANY, "thread::sleep of older C libraries"),
    both("restart_syscall", ANY, "the kernel, resuming a wait after a signal"),
    // Memory.
    both("mmap", &[within(2, DATA)], "malloc; in the broker, a slot, the roster"),
    both("munmap", ANY, "free"),
    both("mremap", ANY, "realloc"),
    both("madvise", ANY, "free"),
    both("mprotect", &[within(2, DATA)], "malloc, growing a heap"),
    both("brk", ANY, "malloc"),
    both("getrandom", ANY, "seeds of HashMap and malloc"),
    // Itself.
    both("getpid", ANY, "abort; process::id"),
    both("gettid", ANY, "abort"),
    broker("getppid", ANY, "whether the front is still there"),
    broker("getuid", ANY, "whether this is rootless"),
    broker("geteuid", ANY, "whether this is rootless"),
    both("prctl", &[int(0, PR_SET_NAME)], "naming itself"),
    both("tgkill", &[int(2, SIGABRT)], "abort"),
    both("rt_sigprocmask", ANY, "abort"),
    both("rt_sigaction", ANY, "abort; std's handler of stack overflow; sys::alarm"),
    both("rt_sigreturn", ANY, "the return from a handler"),
    both("sigaltstack", ANY, "that handler's stack"),
    both("exit", ANY, "the end of the thread"),
    both("exit_group", ANY, "the end"),
];
