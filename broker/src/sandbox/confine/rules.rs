//! The system calls of the broker and of readers, one a line, with the code that needs it.
//!
//! Missing on purpose, for both: `execve`, `clone` (neither starts anything once confined), `socket`,
//! `connect`, `bind`, `ptrace`, `setns`, `unshare`, `mount` and similar, `bpf`, `keyctl`, kernel modules, and
//! all calls that change ids. For the broker also `openat2`, whose flags are in memory, `process_vm_readv`,
//! as it never touches a tenant's memory or files, and `pidfd_getfd`, as the spawner's processes take
//! descriptors for it.

use crate::sys::path_lookup;
use kcov_sys::rules::{ANY, Argument, OWN_PROCESS, RUNTIME, Rule};
use libc::{
    AF_UNIX, F_GETFD, F_OFD_SETLK, O_ACCMODE, O_CREAT, O_TRUNC, SECCOMP_IOCTL_NOTIF_ADDFD,
    SECCOMP_IOCTL_NOTIF_ID_VALID, SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND,
    SECCOMP_IOCTL_NOTIF_SET_FLAGS, SIGABRT, STDERR_FILENO,
};

/// The tables of the broker.
pub const BROKER: &[&[Rule]] = &[RUNTIME, BOTH, BROKER_ONLY];
/// The tables of a reader.
pub const READER: &[&[Rule]] = &[RUNTIME, BOTH, READER_ONLY];

const fn allow(call: &'static str, when: &'static [Argument], need: &'static str) -> Rule {
    Rule::allow(call, when, need)
}

const fn int(index: u32, value: i32) -> Argument {
    Argument::int(index, value)
}

/// `__O_TMPFILE` without the `O_DIRECTORY` that `O_TMPFILE` includes: it creates a file as well.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
/// Flags of opens that create a file.
const CREATES: u32 = (O_CREAT | TMPFILE).cast_unsigned();
/// Flags of opens that create or change a file; read-only opens and `O_PATH` have none of them.
const CHANGES: u32 = CREATES | (O_ACCMODE | O_TRUNC).cast_unsigned();
/// `PIDFD_GET_INFO`, type 0xff, number 11. The size of its structure depends on the kernel headers and is not
/// compared.
const PIDFD_GET_INFO: Argument = Argument::masked(1, 0xffff, 0xff0b);

/// One of the structures of [`path_lookup`], which only have `O_PATH`.
const LOOKUP: Argument = Argument { index: 2, mask: path_lookup::HOW.0, value: path_lookup::HOW.1 };

const BOTH: &[Rule] = &[
    // Listeners and tasks.
    allow("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_ID_VALID as i32)], "listener::id_valid"),
    allow("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_SEND as i32)], "listener::send"),
    allow("ioctl", &[PIDFD_GET_INFO], "process::task_info, pidfd::exit_status"),
    allow("pidfd_open", ANY, "process::pidfd_open"),
    // Files.
    allow("statx", ANY, "file::statx; std::fs::metadata"),
    allow("fstat", ANY, "nix::sys::stat::fstat"),
    allow("newfstatat", ANY, "nix::sys::stat::fstat, by the C library"),
    allow("readlink", ANY, "std::fs::read_link"),
    allow("readlinkat", ANY, "nix::fcntl::readlinkat; std::fs::read_link, in other C libraries"),
    allow("read", ANY, "procfs; timerfd, inotify and pipes in the broker"),
    allow("pread64", ANY, "FileExt::read_exact_at: a caller's memory; an area"),
    allow("lseek", ANY, "File::read_to_end, asking how much is left"),
    // Sockets that are there already.
    allow("recvfrom", ANY, "Channel::try_receive_bare; a reader's requests"),
    // Aborting, and faults of this program.
    allow("tgkill", &[int(0, OWN_PROCESS), int(2, SIGABRT)], "abort"),
    allow("rt_sigaction", ANY, "abort; std's handler of stack overflow; sys::alarm"),
];

const BROKER_ONLY: &[Rule] = &[
    // Listeners and tasks.
    allow("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_ADDFD as i32)], "listener::add_fd_send, listener::set_fd"),
    allow("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_RECV as i32)], "listener::receive"),
    allow("ioctl", &[int(1, SECCOMP_IOCTL_NOTIF_SET_FLAGS as i32)], "filter::set_sync_wake_up"),
    allow("pidfd_send_signal", ANY, "killing workers and readers; waking the front"),
    allow("kill", ANY, "SpawnerClient::end, if the spawner was killed"),
    allow("wait4", ANY, "SpawnerClient::end"),
    // Files.
    allow("openat", &[Argument::masked(2, CREATES, 0)], "procfs; re-opening an area through it"),
    allow("open", &[Argument::masked(1, CREATES, 0)], "the same, in other C libraries"),
    allow("getdents64", ANY, "counting descriptors and threads"),
    allow("write", ANY, "the log, the report"),
    allow("pwritev2", &[int(0, STDERR_FILENO)], "standard_error::write_nowait"),
    allow("writev", ANY, "the same; malloc, reporting a corrupted heap"),
    allow("pwrite64", ANY, "the first word of an area"),
    allow("fcntl", ANY, "seals, leases, OwnedFd::try_clone"),
    allow("flock", ANY, "memfd::lock_shared"),
    allow("memfd_create", ANY, "areas, slots"),
    allow("pipe2", ANY, "a worker's output"),
    allow("ftruncate", ANY, "the size of areas and slots"),
    allow("fchmod", ANY, "mode 0600 of an area, as the kernel's device has"),
    allow("fallocate", ANY, "freeing the pages of an area that is gone"),
    allow("inotify_init1", ANY, "the closing of areas"),
    allow("inotify_add_watch", ANY, "the closing of areas"),
    allow("inotify_rm_watch", ANY, "the closing of areas"),
    // Sockets of new processes.
    allow("socketpair", &[int(0, AF_UNIX)], "socket::pair"),
    allow("shutdown", ANY, "ending a reader's requests"),
    // Waiting.
    allow("epoll_create1", ANY, "Poller::new"),
    allow("epoll_ctl", ANY, "Poller::add"),
    allow("epoll_wait", ANY, "Poller::wait"),
    allow("epoll_pwait", ANY, "the same, on machines that have no epoll_wait"),
    allow("timerfd_create", ANY, "Clock::new"),
    allow("timerfd_settime", ANY, "Clock::pace"),
    allow("setitimer", ANY, "sys::alarm"),
    // Itself.
    allow("getppid", ANY, "holding on to the front"),
];

const READER_ONLY: &[Rule] = &[
    allow("pidfd_send_signal", &[int(1, 0)], "process::holds_number"),
    allow("pidfd_getfd", ANY, "marking the open of a caller's descriptor"),
    allow("fcntl", &[int(1, F_OFD_SETLK)], "mark::place"),
    allow("process_vm_readv", ANY, "reading a caller's memory"),
    allow("process_vm_writev", ANY, "writing a caller's memory"),
    allow("openat", &[Argument::masked(2, CHANGES, 0)], "procfs; one step of a path"),
    allow(
        "openat2",
        &[LOOKUP, Argument::is(3, path_lookup::SIZE)],
        "path_lookup::open, in the caller's root",
    ),
    allow("fstatfs", ANY, "whether a file is in procfs"),
    allow("write", &[int(0, STDERR_FILENO)], "panic messages"),
    allow("writev", &[int(0, STDERR_FILENO)], "malloc, reporting a corrupted heap"),
    allow("fcntl", &[int(1, F_GETFD)], "OwnedFd::drop of debug builds, asserting that it is open"),
];
