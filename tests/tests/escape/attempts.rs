//! The attempts of a compromised handler to leave its jail, and the outcome of each.

use Outcome::{Dies, Ended, EndedLater, Fails, FailsByOwner, Held, Killed, Value};
use libc::{
    EACCES, EFAULT, EINVAL, EIO, EMFILE, ENOMEM, ENOTTY, EPERM, EPIPE, ESRCH, SIGKILL, SIGSEGV, SIGSYS,
    SIGXFSZ,
};

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel kills the worker: its filter forbids the call.
    Killed,
    /// The worker dies of this signal, or exits if it is 0.
    Dies(i32),
    /// The broker ends the worker for this reason.
    Ended(&'static str),
    /// The handler does not answer the call; the broker answers it and ends the worker at a deadline.
    Held,
    /// The call fails with this errno, and the broker ends the worker for this reason.
    EndedLater(i32, &'static str),
    /// The call fails with this errno, and the worker goes on.
    Fails(i32),
    /// The call fails with the first errno under root's broker, with the second under an ordinary user's.
    FailsByOwner(i32, i32),
    /// The call returns this value, which means that the attempt had no effect.
    Value(i64),
}

impl Outcome {
    /// The result of the call, as the caller sees it.
    #[must_use]
    pub fn value(self, rootless: bool) -> i64 {
        let error = |errno: i32| -i64::from(errno);
        match self {
            Killed | Dies(_) | Ended(_) | Held => error(EIO),
            EndedLater(errno, _) | Fails(errno) => error(errno),
            FailsByOwner(root, user) => error(if rootless { user } else { root }),
            Value(value) => value,
        }
    }

    /// Returns whether the call is only answered at a deadline.
    #[must_use]
    pub fn is_slow(self) -> bool {
        self == Held
    }

    /// How the worker ends, if it does: the signal, and the reasons that the broker may log.
    #[must_use]
    pub fn end(self) -> Option<(i32, Vec<&'static str>)> {
        match self {
            Killed => Some((SIGSYS, vec![])),
            Dies(signal) => Some((signal, vec![])),
            Ended(reason) | EndedLater(_, reason) => Some((SIGKILL, vec![reason])),
            // The last one applies on a machine so busy that the worker has not hidden anything by then.
            Held => Some((SIGKILL, vec!["does not answer a call", "past its deadline"])),
            Fails(_) | FailsByOwner(..) | Value(_) => None,
        }
    }
}

/// The reason for which the broker ends a worker with too many requests for one call.
const TOO_MUCH: &str = "too many requests for one call";

/// The attempts of `handlers/escape.c`, by name.
pub const ATTEMPTS: &[(&str, Outcome)] = &[
    ("nothing", Value(0)),
    // Files.
    ("open of the root", Killed),
    ("open of /etc/passwd", Killed),
    ("open of /proc/self/mem", Killed),
    ("open of /proc/self/maps", Killed),
    ("open of /proc/1/root", Killed),
    ("open of /proc/1/mem", Killed),
    ("open of /sys/kernel", Killed),
    ("open of /dev/mem", Killed),
    ("open of a descriptor by its link", Killed),
    ("open relative to a descriptor", Killed),
    ("open of a new file", Killed),
    ("openat2", Killed),
    ("name_to_handle_at", Killed),
    ("open_by_handle_at", Killed),
    ("statx", Killed),
    ("newfstatat", Killed),
    ("readlinkat", Killed),
    ("faccessat", Killed),
    ("getdents64", Killed),
    ("symlinkat", Killed),
    ("linkat", Killed),
    ("mkdirat", Killed),
    ("mknodat", Killed),
    ("unlinkat", Killed),
    ("renameat2", Killed),
    ("fchmod", Killed),
    ("fchown", Killed),
    ("truncate", Killed),
    ("chdir", Killed),
    ("fchdir", Killed),
    ("dup", Killed),
    ("sendfile", Killed),
    ("fallocate that punches a hole", Killed),
    ("inotify", Killed),
    ("fanotify", Killed),
    ("acct", Killed),
    ("quotactl", Killed),
    ("shrinking its memory files", Value(0)),
    ("sealing its memory files", Value(0)),
    ("mapping its memory files", Value(0)),
    // Sockets.
    ("socket AF_UNIX", Killed),
    ("socket AF_INET", Killed),
    ("socket AF_INET6", Killed),
    ("socket AF_NETLINK", Killed),
    ("socket AF_PACKET", Killed),
    ("socket AF_VSOCK", Killed),
    ("socket AF_ALG", Killed),
    ("socketpair", Killed),
    ("connect to an abstract name", Killed),
    ("bind to an abstract name", Killed),
    ("listen", Killed),
    ("accept4", Killed),
    ("getpeername", Killed),
    ("setsockopt", Killed),
    ("shutdown", Killed),
    ("sendmmsg", Killed),
    // Processes.
    ("kill of init", Killed),
    ("kill of all processes", Killed),
    ("tkill", Killed),
    ("tgkill of another by SIGKILL", Killed),
    ("tgkill of a neighbour by SIGABRT", Killed),
    ("rt_sigqueueinfo", Killed),
    ("rt_tgsigqueueinfo", Killed),
    ("ptrace", Killed),
    ("process_vm_readv", Killed),
    ("process_vm_writev", Killed),
    ("pidfd_open", Killed),
    ("pidfd_getfd", Killed),
    ("pidfd_send_signal", Killed),
    ("process_madvise", Killed),
    ("kcmp", Killed),
    ("sched_setaffinity", Killed),
    ("setpriority", Killed),
    ("setsid", Killed),
    ("fork", Killed),
    ("vfork", Killed),
    ("clone", Killed),
    ("clone of a thread", Killed),
    ("clone3", Killed),
    ("fork bomb", Killed),
    ("execve", Killed),
    ("execveat", Killed),
    ("execveat of a memory file", Killed),
    // Messages out of turn on the sockets of broker and reader.
    ("garbage for the broker", Ended("sent a malformed request")),
    ("an empty message", Ended("closed its socket")),
    ("a truncated message", Ended("sent a malformed request")),
    ("a message that is too long", Ended("sent a malformed request")),
    ("a message with trailing bytes", Ended("sent a malformed request")),
    ("a second ready message", Ended("a request out of turn")),
    ("two decisions for one call", EndedLater(ENOTTY, "a request out of turn")),
    ("an answer without a request", Value(0)),
    ("a flood of requests", Ended("does not take its replies")),
    ("a flood of requests whose answers are read", Ended(TOO_MUCH)),
    ("a flood of reasons for the log", Ended(TOO_MUCH)),
    ("a flood of decisions", Ended(TOO_MUCH)),
    ("a flood passed on by the reader", Ended(TOO_MUCH)),
    ("a descriptor of a neighbour", Value(0)),
    ("collecting into a neighbour's area", Fails(ENOTTY)),
    ("a descriptor for a call that has ended", Value(0)),
    ("descriptors that were not requested", Value(0)),
    ("more descriptors than fit", Ended("sent a malformed request")),
    ("the listener passed to the caller", Fails(EIO)),
    ("credentials of another process", FailsByOwner(EPERM, EINVAL)),
    ("the caller's memory through the reader", Value(0)),
    ("a neighbour's memory through the reader", Fails(EPERM)),
    ("init's memory through the reader", Fails(EPERM)),
    ("memory for a call that has ended", Fails(ESRCH)),
    ("writing to a neighbour's memory", Fails(EPERM)),
    ("writing for a call that has ended", Fails(ESRCH)),
    ("garbage for the reader", Fails(EPIPE)),
    ("a call that the slot does not show", Held),
    ("a hidden call behind ever new ids", Held),
    ("a slot that shows ever new ids", Held),
    ("one call kept while others are served", Held),
    ("a false call in the slot, then exit", Dies(0)),
    // The listener.
    ("a descriptor for the caller (ADDFD)", Killed),
    ("flags of the listener (SET_FLAGS)", Killed),
    ("TIOCSTI", Killed),
    ("FIONBIO", Killed),
    ("a filter of its own", Killed),
    ("a listener of its own", Killed),
    ("strict mode", Killed),
    // Namespaces, mounts, the machine.
    ("unshare of a user namespace", Killed),
    ("unshare of a mount namespace", Killed),
    ("setns", Killed),
    ("clone into a user namespace", Killed),
    ("mount", Killed),
    ("umount2", Killed),
    ("pivot_root", Killed),
    ("chroot", Killed),
    ("fsopen", Killed),
    ("open_tree", Killed),
    ("move_mount", Killed),
    ("sethostname", Killed),
    ("clock_settime", Killed),
    ("reboot", Killed),
    ("swapon", Killed),
    ("init_module", Killed),
    ("finit_module", Killed),
    ("kexec_load", Killed),
    ("syslog", Killed),
    ("bpf", Killed),
    ("perf_event_open", Killed),
    ("userfaultfd", Killed),
    ("io_uring_setup", Killed),
    ("io_uring_enter", Killed),
    ("add_key", Killed),
    ("request_key", Killed),
    ("keyctl", Killed),
    ("shmget", Killed),
    ("shmat", Killed),
    ("semget", Killed),
    ("msgget", Killed),
    ("mq_open", Killed),
    ("landlock_create_ruleset", Killed),
    // Itself.
    ("setuid", Killed),
    ("setgid", Killed),
    ("setgroups", Killed),
    ("setresuid", Killed),
    ("capset", Killed),
    ("dumpable", Killed),
    ("securebits", Killed),
    ("ambient capabilities", Killed),
    ("outliving its parent", Killed),
    ("a tracer of its choice", Killed),
    ("setrlimit", Killed),
    ("prlimit64", Killed),
    ("personality READ_IMPLIES_EXEC", Killed),
    // Code and memory.
    ("anonymous code", Killed),
    ("code of a memory file", Killed),
    ("data that becomes code", Killed),
    ("code that was rewritten", Killed),
    ("pkey_mprotect", Killed),
    ("remap_file_pages", Killed),
    ("memfd_secret", Killed),
    ("writing to the roster", Fails(EACCES)),
    ("reading into the roster", Fails(EFAULT)),
    ("punching the roster", Killed),
    ("a second mapping of the roster", Fails(EACCES)),
    ("all memory", Fails(ENOMEM)),
    ("all descriptors", Fails(EMFILE)),
    ("a large file", Dies(SIGXFSZ)),
    ("deep recursion", Dies(SIGSEGV)),
    // The machine's other tables.
    ("modify_ldt", Killed),
    ("arch_prctl", Killed),
    ("iopl", Killed),
    ("ioperm", Killed),
    ("open by the old system call", Killed),
    ("creat", Killed),
    ("open by the x32 table", Killed),
    ("a system call that does not exist", Killed),
    ("getpid by int 0x80", Killed),
];
