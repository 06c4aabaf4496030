//! Tasks: processes, ids, signals, time, and system administration.

use super::argument::{Class, int, long};

/// A process or thread: -1 is all, 1 is init.
pub const PID: Class = &[int(-1), int(1)];
/// A user or group id: -1 is unchanged, 65534 is nobody.
pub const ID: Class = &[int(-1), int(65534)];
/// A number of supplementary groups (`NGROUPS_MAX`).
pub const GROUPS: Class = &[int(65536)];
/// A signal (`_NSIG`).
pub const SIGNAL: Class = &[int(64), int(libc::SIGKILL as i64), int(libc::SIGSTOP as i64)];
/// `how` of `sigprocmask`.
pub const MASK_HOW: Class = &[int(libc::SIG_UNBLOCK as i64), int(libc::SIG_SETMASK as i64)];
/// Size of a signal set in bytes; must be 8.
pub const SIGSET_SIZE: Class = &[long(8)];
/// Options of `wait4` and `waitid`.
pub const WAIT: Class = &[
    int(libc::WNOHANG as i64),
    int(libc::WEXITED as i64),
    int(libc::WNOWAIT as i64),
    int(libc::__WALL as i64),
];
/// `idtype` of `waitid`.
pub const WAIT_ID: Class = &[int(1), int(2), int(3)];
/// `CLONE_*`.
pub const CLONE: Class = &[
    long((libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD) as u64),
    long(
        (libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD)
            as u64,
    ),
    long(libc::CLONE_NEWUSER as u64),
    long(libc::CLONE_NEWPID as u64),
];
/// `CLONE_NEW*` of `unshare` and `setns`.
pub const NAMESPACE: Class = &[
    int(libc::CLONE_NEWNS as i64),
    int(libc::CLONE_NEWUSER as i64),
    int(libc::CLONE_NEWPID as i64),
    int(libc::CLONE_NEWNET as i64),
    int(libc::CLONE_FILES as i64),
];
/// Options of `prctl`.
pub const PRCTL: Class = &[
    int(libc::PR_SET_PDEATHSIG as i64),
    int(libc::PR_SET_DUMPABLE as i64),
    int(libc::PR_SET_NAME as i64),
    int(libc::PR_SET_SECCOMP as i64),
    int(libc::PR_CAPBSET_DROP as i64),
    int(libc::PR_SET_MM as i64),
    int(libc::PR_SET_NO_NEW_PRIVS as i64),
    int(0x5356_4d41), // PR_SET_VMA
];
/// Codes of `arch_prctl`.
pub const ARCH_PRCTL: Class = &[int(0x1001), int(0x1002), int(0x1011), int(0x5001)];
/// Requests of `ptrace`.
pub const PTRACE: Class = &[
    long(libc::PTRACE_PEEKDATA as u64),
    long(libc::PTRACE_CONT as u64),
    long(libc::PTRACE_ATTACH as u64),
    long(libc::PTRACE_GETREGSET as u64),
    long(libc::PTRACE_SEIZE as u64),
];
/// Operations of `futex`, with and without `FUTEX_PRIVATE_FLAG`.
pub const FUTEX: Class = &[int(1), int(0x80), int(0x81), int(6), int(9), int(11)];
/// Flags of the `futex2` calls.
pub const FUTEX2: Class = &[int(2), int(0x82)];
/// Resources of `setrlimit` (`RLIM_NLIMITS`).
pub const RLIMIT: Class = &[int(16), int(libc::RLIMIT_NOFILE as i64), int(libc::RLIMIT_AS as i64)];
/// Scheduling policies.
pub const SCHEDULER: Class = &[
    int(libc::SCHED_FIFO as i64),
    int(libc::SCHED_RR as i64),
    int(libc::SCHED_BATCH as i64),
    int(libc::SCHED_IDLE as i64),
    int(libc::SCHED_DEADLINE as i64),
];
/// `which` of `getpriority` and `ioprio_get`.
pub const PRIORITY: Class = &[int(1), int(2)];
/// A nice value (`MAX_NICE`, `MIN_NICE`).
pub const NICE: Class = &[int(19), int(-20)];
/// Clocks.
pub const CLOCK: Class = &[
    int(libc::CLOCK_MONOTONIC as i64),
    int(libc::CLOCK_PROCESS_CPUTIME_ID as i64),
    int(libc::CLOCK_BOOTTIME as i64),
    int(libc::CLOCK_TAI as i64),
];
/// `TIMER_ABSTIME`.
pub const TIMER: Class = &[int(libc::TIMER_ABSTIME as i64)];
/// Interval timers.
pub const ITIMER: Class = &[int(1), int(2)];
/// `GRND_*`.
pub const RANDOM: Class = &[int(1), int(2), int(4)];
/// Execution domains.
pub const PERSONA: Class = &[int(0xffff_ffff), int(0x4_0000), int(8)];
/// Operations of `seccomp`.
pub const SECCOMP: Class = &[int(1), int(2), int(3)];
/// Commands of `bpf`.
pub const BPF: Class = &[int(1), int(2), int(5), int(8), int(18), int(28)];
/// Operations of `keyctl`.
pub const KEYCTL: Class = &[int(1), int(3), int(5), int(9), int(11), int(23)];
/// Commands of `membarrier`.
pub const MEMBARRIER: Class = &[int(1), int(8), int(16), int(64)];
/// Types of `kcmp`.
pub const KCMP: Class = &[int(1), int(2), int(7)];
/// Flags of `perf_event_open`.
pub const PERF: Class = &[long(1), long(2), long(4), long(8)];
/// Flags of `pidfd_open`.
pub const PIDFD: Class = &[int(libc::O_NONBLOCK as i64), int(libc::O_EXCL as i64)];
/// Entries of `io_uring_setup` (`IORING_MAX_ENTRIES`).
pub const RING_ENTRIES: Class = &[int(32768)];
/// Flags of `io_uring_enter`.
pub const RING_ENTER: Class = &[int(1), int(2), int(8)];
/// Operations of `io_uring_register` (`IORING_REGISTER_LAST`).
pub const RING_REGISTER: Class = &[int(2), int(4), int(8), int(16)];
/// Flags of `landlock_create_ruleset`.
pub const LANDLOCK: Class = &[int(1), int(2)];
/// Size of `struct rseq`.
pub const RSEQ_SIZE: Class = &[int(32)];
/// Length of a host name (`__NEW_UTS_LEN`).
pub const HOSTNAME: Class = &[int(64)];
/// Types of `syslog`.
pub const SYSLOG: Class = &[int(3), int(8), int(10)];
/// First magic number of `reboot`.
pub const REBOOT_MAGIC1: Class = &[int(0xfee1_dead)];
/// Second magic number of `reboot`.
pub const REBOOT_MAGIC2: Class = &[int(0x2812_1969), int(0x0512_1996), int(0x1604_1998), int(0x2011_2000)];
/// Commands of `reboot`.
pub const REBOOT: Class = &[int(0x0123_4567), int(0x4321_fedc), int(0xa1b2_c3d4)];
/// Highest port of `ioperm`.
pub const PORTS: Class = &[long(65536)];
/// Flags of `delete_module` and `finit_module`.
pub const MODULE: Class =
    &[int(libc::O_NONBLOCK as i64), int((libc::O_NONBLOCK | libc::O_TRUNC) as i64), int(1)];
/// Flags of `kexec_load` (`KEXEC_ON_CRASH`).
pub const KEXEC: Class = &[long(1), long(2)];
/// Flags of `sched_getattr` and other calls whose flags must be 0.
pub const NO_FLAGS: Class = &[int(1)];
/// Call numbers of `ipc`.
pub const IPC_CALL: Class = &[int(1), int(2), int(3), int(11), int(21), int(23)];
