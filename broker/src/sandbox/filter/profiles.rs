//! The calls of the profiles.

/// A call, and the conditions on its arguments: argument, mask, value. All of them hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProfileCall {
    /// Its name.
    pub(super) name: &'static str,
    /// The conditions.
    pub(super) when: &'static [(u32, u64, u64)],
}

const fn call(name: &'static str) -> ProfileCall {
    ProfileCall { name, when: &[] }
}

const fn when(name: &'static str, when: &'static [(u32, u64, u64)]) -> ProfileCall {
    ProfileCall { name, when }
}

/// Argument registers that the kernel takes as `int`.
const INT: u64 = 0xffff_ffff;
/// The command of `futex`, without `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME` (`include/uapi/linux/futex.h`).
const FUTEX_COMMAND: u64 = 0xffff_fe7f;

/// The calls that signal(7) lists as interruptible: without tracing they may return `EINTR` as well. Left out are opens,
/// which wait for a FIFO only, and `ioctl` but for requests that wait for a terminal's output.
pub(super) const INTERRUPTIBLE: &[ProfileCall] = &[
    // Slow devices.
    call("read"),
    call("readv"),
    call("write"),
    call("writev"),
    // TCSBRK, TCSETSW, TCSETSF, TCSBRKP (`include/uapi/asm-generic/ioctls.h`).
    when("ioctl", &[(1, INT, 0x5409)]),
    when("ioctl", &[(1, INT, 0x5403)]),
    when("ioctl", &[(1, INT, 0x5404)]),
    when("ioctl", &[(1, INT, 0x5425)]),
    // Children.
    call("wait4"),
    call("waitid"),
    call("waitpid"),
    // Sockets.
    call("accept"),
    call("accept4"),
    call("connect"),
    call("recv"),
    call("recvfrom"),
    call("recvmmsg"),
    call("recvmmsg_time64"),
    call("recvmsg"),
    call("send"),
    call("sendmmsg"),
    call("sendmsg"),
    call("sendto"),
    // Locks. The commands F_SETLKW, F_SETLKW64 and F_OFD_SETLKW (`include/uapi/asm-generic/fcntl.h`).
    call("flock"),
    when("fcntl", &[(1, INT, 7)]),
    when("fcntl", &[(1, INT, 38)]),
    when("fcntl64", &[(1, INT, 7)]),
    when("fcntl64", &[(1, INT, 14)]),
    when("fcntl64", &[(1, INT, 38)]),
    // Message queues and semaphores.
    call("mq_timedreceive"),
    call("mq_timedreceive_time64"),
    call("mq_timedsend"),
    call("mq_timedsend_time64"),
    call("msgrcv"),
    call("msgsnd"),
    call("semop"),
    call("semtimedop"),
    call("semtimedop_time64"),
    // FUTEX_WAIT and FUTEX_WAIT_BITSET.
    when("futex", &[(1, FUTEX_COMMAND, 0)]),
    when("futex", &[(1, FUTEX_COMMAND, 9)]),
    when("futex_time64", &[(1, FUTEX_COMMAND, 0)]),
    when("futex_time64", &[(1, FUTEX_COMMAND, 9)]),
    call("getrandom"),
    // Signals.
    call("pause"),
    call("rt_sigsuspend"),
    call("rt_sigtimedwait"),
    call("rt_sigtimedwait_time64"),
    call("sigsuspend"),
    // Several descriptors.
    call("_newselect"),
    call("epoll_pwait"),
    call("epoll_pwait2"),
    call("epoll_wait"),
    call("poll"),
    call("ppoll"),
    call("ppoll_time64"),
    call("pselect6"),
    call("pselect6_time64"),
    call("select"),
    // Sleeping, and asynchronous input and output.
    call("clock_nanosleep"),
    call("clock_nanosleep_time64"),
    call("io_getevents"),
    call("io_pgetevents"),
    call("io_pgetevents_time64"),
    call("nanosleep"),
];

/// What syzkaller's probes need: `mmap` with `MAP_FIXED`, which the C library and shells do not call. The dynamic loader
/// does, before any signal handler is there.
pub(super) const PROBED: &[ProfileCall] = &[
    when("mmap", &[(3, libc::MAP_FIXED as u64, libc::MAP_FIXED as u64)]),
    when("mmap2", &[(3, libc::MAP_FIXED as u64, libc::MAP_FIXED as u64)]),
];

/// Calls that `all` traces and `syzkaller` does not: syz-executor makes them for itself around every call of a test
/// program. Its threads synchronise by futex, and its loops sleep with deadlines of 50 ms. A round trip for each would be
/// paid several times a call, and would cover nothing of the test program. `syzkaller,futex` adds one again.
pub(super) const EXECUTOR_LOOP: &[&str] =
    &["clock_nanosleep", "clock_nanosleep_time64", "futex", "futex_time64", "nanosleep"];
