//! The system calls of Linux 6.18: one row each, with its site and the class of each argument.
//!
//! Each row has a line and a module of its own, because a symboliser shows these for its PC. The order is
//! that of the `x86_64` table, then calls that only other tables have. Trailing arguments without a class are
//! omitted.

use super::classes::*;
use crate::record::Place;
use crate::sys::site::linked_site;
use kcov_proto::site::{Site, SiteKind};

/// A system call.
#[derive(Debug)]
pub struct Row {
    /// Name in libseccomp.
    pub name: &'static str,
    /// Where its number comes from.
    pub number: Number,
    /// Site that is recorded when it is called.
    pub site: &'static Site,
    /// Class of each argument.
    pub args: &'static [Class],
}

/// Where the number of a call comes from.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// libseccomp 2.5.4 and later know it.
    Resolved,
    /// The number is the same in every table, as for all calls since 424.
    Everywhere(i32),
    /// The call exists only in the `x86_64` table.
    Amd64(i32),
}

use Number::{Amd64, Everywhere};

/// The location and the classes of a row. The macro is expanded in the row, so the location is that of the
/// row.
struct RowSpec {
    line: u32,
    column: u32,
    args: &'static [Class],
}

macro_rules! args {
    ($($class:ident)*) => { RowSpec { line: line!(), column: column!(), args: &[$($class),*] } };
}

macro_rules! number {
    () => {
        Number::Resolved
    };
    ($number:expr) => {
        $number
    };
}

macro_rules! calls {
    ($($name:ident $(= $number:expr)? => $spec:expr;)*) => {
        $(#[expect(unsafe_code, reason = "a link section for sites")]
        mod $name {
            use super::*;

            pub const SPEC: RowSpec = $spec;
            const PLACE: Place =
                Place { file: file!(), line: SPEC.line, column: SPEC.column, module: module_path!() };

            linked_site! {
                pub static SITE: Site =
                    Site::new(SiteKind::Call, PLACE, stringify!($name), stringify!($name));
            }
        })*

        /// All rows.
        pub static CALLS: &[Row] = &[$(Row {
            name: stringify!($name),
            number: number!($($number)?),
            site: &$name::SITE,
            args: $name::SPEC.args,
        }),*];
    };
}

calls! {
    read => args!(FD ROOM COUNT);
    write => args!(FD ROOM COUNT);
    open => args!(OTHER OPEN MODE);
    close => args!(FD);
    stat => args!();
    fstat => args!(FD);
    lstat => args!();
    poll => args!(OTHER FDS TIMEOUT);
    lseek => args!(FD OFFSET WHENCE);
    mmap => args!(ROOM LENGTH PROT MAP FD OFFSET);
    mprotect => args!(ROOM LENGTH PROT);
    munmap => args!(ROOM LENGTH);
    brk => args!(LENGTH);
    rt_sigaction => args!(SIGNAL OTHER OTHER SIGSET_SIZE);
    rt_sigprocmask => args!(MASK_HOW OTHER OTHER SIGSET_SIZE);
    rt_sigreturn => args!();
    ioctl => args!(FD REQUEST);
    pread64 => args!(FD ROOM COUNT OFFSET);
    pwrite64 => args!(FD ROOM COUNT OFFSET);
    readv => args!(FD OTHER IOVECS);
    writev => args!(FD OTHER IOVECS);
    access => args!(OTHER ACCESS);
    pipe => args!();
    select => args!(FDS);
    sched_yield => args!();
    mremap => args!(ROOM LENGTH LENGTH MREMAP);
    msync => args!(ROOM LENGTH MSYNC);
    mincore => args!(ROOM LENGTH);
    madvise => args!(ROOM LENGTH MADVICE);
    shmget => args!(OTHER LENGTH IPC_FLAGS);
    shmat => args!(OTHER OTHER IPC_FLAGS);
    shmctl => args!(OTHER IPC);
    dup => args!(FD);
    dup2 => args!(FD NEW_FD);
    pause => args!();
    nanosleep => args!();
    getitimer => args!(ITIMER);
    alarm => args!(TIMEOUT);
    setitimer => args!(ITIMER);
    getpid => args!();
    sendfile => args!(FD FD OTHER COUNT);
    socket => args!(FAMILY SOCKET PROTOCOL);
    connect => args!(FD OTHER ADDRESS_LENGTH);
    accept => args!(FD);
    sendto => args!(FD ROOM COUNT MSG OTHER ADDRESS_LENGTH);
    recvfrom => args!(FD ROOM COUNT MSG);
    sendmsg => args!(FD OTHER MSG);
    recvmsg => args!(FD OTHER MSG);
    shutdown => args!(FD SHUTDOWN);
    bind => args!(FD OTHER ADDRESS_LENGTH);
    listen => args!(FD BACKLOG);
    getsockname => args!(FD);
    getpeername => args!(FD);
    socketpair => args!(FAMILY SOCKET PROTOCOL);
    setsockopt => args!(FD LEVEL OPTION OTHER OPTION_LENGTH);
    getsockopt => args!(FD LEVEL OPTION);
    clone => args!(CLONE);
    fork => args!();
    vfork => args!();
    execve => args!();
    exit => args!();
    wait4 => args!(PID OTHER WAIT);
    kill => args!(PID SIGNAL);
    uname => args!();
    semget => args!(OTHER OTHER IPC_FLAGS);
    semop => args!(OTHER OTHER IOVECS);
    semctl => args!(OTHER OTHER IPC);
    shmdt => args!();
    msgget => args!(OTHER IPC_FLAGS);
    msgsnd => args!(OTHER OTHER COUNT IPC_FLAGS);
    msgrcv => args!(OTHER OTHER COUNT OTHER IPC_FLAGS);
    msgctl => args!(OTHER IPC);
    fcntl => args!(FD FCNTL);
    flock => args!(FD FLOCK);
    fsync => args!(FD);
    fdatasync => args!(FD);
    truncate => args!(OTHER OFFSET);
    ftruncate => args!(FD OFFSET);
    getdents => args!(FD ROOM COUNT);
    getcwd => args!(ROOM COUNT);
    chdir => args!();
    fchdir => args!(FD);
    rename => args!();
    mkdir => args!(OTHER MODE);
    rmdir => args!();
    creat => args!(OTHER MODE);
    link => args!();
    unlink => args!();
    symlink => args!();
    readlink => args!(OTHER ROOM COUNT);
    chmod => args!(OTHER MODE);
    fchmod => args!(FD MODE);
    chown => args!(OTHER ID ID);
    fchown => args!(FD ID ID);
    lchown => args!(OTHER ID ID);
    umask => args!(MODE);
    gettimeofday => args!();
    getrlimit => args!(RLIMIT);
    getrusage => args!(PID);
    sysinfo => args!();
    times => args!();
    ptrace => args!(PTRACE PID);
    getuid => args!();
    syslog => args!(SYSLOG);
    getgid => args!();
    setuid => args!(ID);
    setgid => args!(ID);
    geteuid => args!();
    getegid => args!();
    setpgid => args!(PID PID);
    getppid => args!();
    getpgrp => args!();
    setsid => args!();
    setreuid => args!(ID ID);
    setregid => args!(ID ID);
    getgroups => args!(GROUPS);
    setgroups => args!(GROUPS);
    setresuid => args!(ID ID ID);
    getresuid => args!();
    setresgid => args!(ID ID ID);
    getresgid => args!();
    getpgid => args!(PID);
    setfsuid => args!(ID);
    setfsgid => args!(ID);
    getsid => args!(PID);
    capget => args!();
    capset => args!();
    rt_sigpending => args!(OTHER SIGSET_SIZE);
    rt_sigtimedwait => args!(OTHER OTHER OTHER SIGSET_SIZE);
    rt_sigqueueinfo => args!(PID SIGNAL);
    rt_sigsuspend => args!(OTHER SIGSET_SIZE);
    sigaltstack => args!();
    utime => args!();
    mknod => args!(OTHER NODE);
    uselib => args!();
    personality => args!(PERSONA);
    ustat => args!();
    statfs => args!();
    fstatfs => args!(FD);
    sysfs => args!(ITIMER);
    getpriority => args!(PRIORITY PID);
    setpriority => args!(PRIORITY PID NICE);
    sched_setparam => args!(PID);
    sched_getparam => args!(PID);
    sched_setscheduler => args!(PID SCHEDULER);
    sched_getscheduler => args!(PID);
    sched_get_priority_max => args!(SCHEDULER);
    sched_get_priority_min => args!(SCHEDULER);
    sched_rr_get_interval => args!(PID);
    mlock => args!(ROOM LENGTH);
    munlock => args!(ROOM LENGTH);
    mlockall => args!(MLOCK);
    munlockall => args!();
    vhangup => args!();
    modify_ldt => args!(PRIORITY OTHER COUNT);
    pivot_root => args!();
    prctl => args!(PRCTL);
    arch_prctl => args!(ARCH_PRCTL);
    adjtimex => args!();
    setrlimit => args!(RLIMIT);
    chroot => args!();
    sync => args!();
    acct => args!();
    settimeofday => args!();
    mount => args!(OTHER OTHER OTHER MOUNT);
    umount2 => args!(OTHER UMOUNT);
    swapon => args!();
    swapoff => args!();
    reboot => args!(REBOOT_MAGIC1 REBOOT_MAGIC2 REBOOT);
    sethostname => args!(OTHER HOSTNAME);
    setdomainname => args!(OTHER HOSTNAME);
    iopl => args!(WAIT_ID);
    ioperm => args!(PORTS PORTS);
    init_module => args!(ROOM COUNT);
    delete_module => args!(OTHER MODULE);
    quotactl => args!(QUOTA);
    gettid => args!();
    readahead => args!(FD OFFSET COUNT);
    setxattr => args!(OTHER OTHER OTHER XATTR_SIZE XATTR);
    lsetxattr => args!(OTHER OTHER OTHER XATTR_SIZE XATTR);
    fsetxattr => args!(FD OTHER OTHER XATTR_SIZE XATTR);
    getxattr => args!(OTHER OTHER OTHER XATTR_SIZE);
    lgetxattr => args!(OTHER OTHER OTHER XATTR_SIZE);
    fgetxattr => args!(FD OTHER OTHER XATTR_SIZE);
    listxattr => args!(OTHER OTHER XATTR_SIZE);
    llistxattr => args!(OTHER OTHER XATTR_SIZE);
    flistxattr => args!(FD OTHER XATTR_SIZE);
    removexattr => args!();
    lremovexattr => args!();
    fremovexattr => args!(FD);
    tkill => args!(PID SIGNAL);
    time => args!();
    futex => args!(OTHER FUTEX);
    sched_setaffinity => args!(PID STRUCT_SIZE);
    sched_getaffinity => args!(PID STRUCT_SIZE);
    set_thread_area => args!();
    io_setup => args!(BACKLOG);
    io_destroy => args!();
    io_getevents => args!();
    io_submit => args!(OTHER IOVECS);
    io_cancel => args!();
    get_thread_area => args!();
    epoll_create => args!(EVENTS);
    remap_file_pages => args!(ROOM LENGTH PROT);
    getdents64 => args!(FD ROOM COUNT);
    set_tid_address => args!();
    restart_syscall => args!();
    semtimedop => args!(OTHER OTHER IOVECS);
    fadvise64 => args!(FD OFFSET COUNT FADVICE);
    timer_create => args!(CLOCK);
    timer_settime => args!(OTHER TIMER);
    timer_gettime => args!();
    timer_getoverrun => args!();
    timer_delete => args!();
    clock_settime => args!(CLOCK);
    clock_gettime => args!(CLOCK);
    clock_getres => args!(CLOCK);
    clock_nanosleep => args!(CLOCK TIMER);
    exit_group => args!();
    epoll_wait => args!(FD OTHER EVENTS TIMEOUT);
    epoll_ctl => args!(FD EPOLL FD);
    tgkill => args!(PID PID SIGNAL);
    utimes => args!();
    mbind => args!(ROOM LENGTH POLICY OTHER OTHER MLOCK);
    set_mempolicy => args!(POLICY);
    get_mempolicy => args!(OTHER OTHER OTHER OTHER MLOCK);
    mq_open => args!(OTHER OPEN MODE);
    mq_unlink => args!();
    mq_timedsend => args!(FD ROOM COUNT);
    mq_timedreceive => args!(FD ROOM COUNT);
    mq_notify => args!(FD);
    mq_getsetattr => args!(FD);
    kexec_load => args!(OTHER IOVECS OTHER KEXEC);
    waitid => args!(WAIT_ID PID OTHER WAIT);
    add_key => args!(OTHER OTHER ROOM COUNT);
    request_key => args!();
    keyctl => args!(KEYCTL);
    ioprio_set => args!(PRIORITY PID);
    ioprio_get => args!(PRIORITY PID);
    inotify_init => args!();
    inotify_add_watch => args!(FD OTHER INOTIFY);
    inotify_rm_watch => args!(FD);
    migrate_pages => args!(PID);
    openat => args!(DIR OTHER OPEN MODE);
    mkdirat => args!(DIR OTHER MODE);
    mknodat => args!(DIR OTHER NODE);
    fchownat => args!(DIR OTHER ID ID AT);
    futimesat => args!(DIR);
    newfstatat => args!(DIR OTHER OTHER AT);
    unlinkat => args!(DIR OTHER UNLINK);
    renameat => args!(DIR OTHER DIR);
    linkat => args!(DIR OTHER DIR OTHER AT);
    symlinkat => args!(OTHER DIR);
    readlinkat => args!(DIR OTHER ROOM COUNT);
    fchmodat => args!(DIR OTHER MODE);
    faccessat => args!(DIR OTHER ACCESS);
    pselect6 => args!(FDS);
    ppoll => args!(OTHER FDS OTHER OTHER SIGSET_SIZE);
    unshare => args!(NAMESPACE);
    set_robust_list => args!(OTHER STRUCT_SIZE);
    get_robust_list => args!(PID);
    splice => args!(FD OTHER FD OTHER COUNT SPLICE);
    tee => args!(FD FD COUNT SPLICE);
    sync_file_range => args!(FD OFFSET OFFSET SYNC_RANGE);
    vmsplice => args!(FD OTHER IOVECS SPLICE);
    move_pages => args!(PID COUNT OTHER OTHER OTHER MLOCK);
    utimensat => args!(DIR OTHER OTHER AT);
    epoll_pwait => args!(FD OTHER EVENTS TIMEOUT OTHER SIGSET_SIZE);
    signalfd => args!(FD OTHER SIGSET_SIZE);
    timerfd_create => args!(CLOCK NEW_FLAGS);
    eventfd => args!();
    fallocate => args!(FD FALLOCATE OFFSET OFFSET);
    timerfd_settime => args!(FD TIMER);
    timerfd_gettime => args!(FD);
    accept4 => args!(FD OTHER OTHER NEW_FLAGS);
    signalfd4 => args!(FD OTHER SIGSET_SIZE NEW_FLAGS);
    eventfd2 => args!(OTHER NEW_FLAGS);
    epoll_create1 => args!(NEW_FLAGS);
    dup3 => args!(FD NEW_FD NEW_FLAGS);
    pipe2 => args!(OTHER NEW_FLAGS);
    inotify_init1 => args!(NEW_FLAGS);
    preadv => args!(FD OTHER IOVECS OFFSET);
    pwritev => args!(FD OTHER IOVECS OFFSET);
    rt_tgsigqueueinfo => args!(PID PID SIGNAL);
    perf_event_open => args!(OTHER PID PID FD PERF);
    recvmmsg => args!(FD OTHER FDS MSG);
    fanotify_init => args!(FANOTIFY OPEN);
    fanotify_mark => args!(FD FANOTIFY OTHER DIR);
    prlimit64 => args!(PID RLIMIT);
    name_to_handle_at => args!(DIR OTHER OTHER OTHER AT);
    open_by_handle_at => args!(DIR OTHER OPEN);
    clock_adjtime => args!(CLOCK);
    syncfs => args!(FD);
    sendmmsg => args!(FD OTHER FDS MSG);
    setns => args!(FD NAMESPACE);
    getcpu => args!();
    process_vm_readv => args!(PID OTHER IOVECS OTHER IOVECS NO_FLAGS);
    process_vm_writev => args!(PID OTHER IOVECS OTHER IOVECS NO_FLAGS);
    kcmp => args!(PID PID KCMP);
    finit_module => args!(FD OTHER MODULE);
    sched_setattr => args!(PID OTHER NO_FLAGS);
    sched_getattr => args!(PID OTHER STRUCT_SIZE NO_FLAGS);
    renameat2 => args!(DIR OTHER DIR OTHER RENAME);
    seccomp => args!(SECCOMP NEW_MOUNT);
    getrandom => args!(ROOM COUNT RANDOM);
    memfd_create => args!(OTHER MEMFD);
    kexec_file_load => args!(FD FD COUNT OTHER KEXEC);
    bpf => args!(BPF OTHER STRUCT_SIZE);
    execveat => args!(DIR OTHER OTHER OTHER AT);
    userfaultfd => args!(USERFAULT);
    membarrier => args!(MEMBARRIER NO_FLAGS);
    mlock2 => args!(ROOM LENGTH MLOCK);
    copy_file_range => args!(FD OTHER FD OTHER COUNT NO_FLAGS);
    preadv2 => args!(FD OTHER IOVECS OFFSET OTHER RWF);
    pwritev2 => args!(FD OTHER IOVECS OFFSET OTHER RWF);
    pkey_mprotect => args!(ROOM LENGTH PROT PKEY);
    pkey_alloc => args!(NO_FLAGS WAIT_ID);
    pkey_free => args!(PKEY);
    statx => args!(DIR OTHER AT STATX);
    io_pgetevents => args!();
    rseq => args!(OTHER RSEQ_SIZE NO_FLAGS);
    uretprobe = Amd64(335) => args!();
    uprobe = Amd64(336) => args!();
    pidfd_send_signal => args!(FD SIGNAL OTHER NO_FLAGS);
    io_uring_setup => args!(RING_ENTRIES);
    io_uring_enter => args!(FD RING_ENTRIES OTHER RING_ENTER);
    io_uring_register => args!(FD RING_REGISTER);
    open_tree => args!(DIR OTHER NEW_MOUNT);
    move_mount => args!(DIR OTHER DIR OTHER NEW_MOUNT);
    fsopen => args!(OTHER NEW_MOUNT);
    fsconfig => args!(FD FSCONFIG);
    fsmount => args!(FD NEW_MOUNT);
    fspick => args!(DIR OTHER NEW_MOUNT);
    pidfd_open => args!(PID PIDFD);
    clone3 => args!(OTHER STRUCT_SIZE);
    close_range => args!(FD NEW_FD CLOSE_RANGE);
    openat2 => args!(DIR OTHER OTHER STRUCT_SIZE);
    pidfd_getfd => args!(FD FD NO_FLAGS);
    faccessat2 => args!(DIR OTHER ACCESS AT);
    process_madvise => args!(FD OTHER IOVECS MADVICE NO_FLAGS);
    epoll_pwait2 => args!(FD OTHER EVENTS OTHER OTHER SIGSET_SIZE);
    mount_setattr => args!(DIR OTHER AT OTHER STRUCT_SIZE);
    quotactl_fd = Everywhere(443) => args!(FD QUOTA);
    landlock_create_ruleset = Everywhere(444) => args!(OTHER STRUCT_SIZE LANDLOCK);
    landlock_add_rule = Everywhere(445) => args!(FD LANDLOCK OTHER NO_FLAGS);
    landlock_restrict_self = Everywhere(446) => args!(FD LANDLOCK);
    memfd_secret = Everywhere(447) => args!(NEW_FLAGS);
    process_mrelease = Everywhere(448) => args!(FD NO_FLAGS);
    futex_waitv = Everywhere(449) => args!(OTHER FDS NO_FLAGS OTHER CLOCK);
    set_mempolicy_home_node = Everywhere(450) => args!(ROOM LENGTH POLICY NO_FLAGS);
    cachestat = Everywhere(451) => args!(FD OTHER OTHER NO_FLAGS);
    fchmodat2 = Everywhere(452) => args!(DIR OTHER MODE AT);
    map_shadow_stack = Everywhere(453) => args!(ROOM LENGTH NO_FLAGS);
    futex_wake = Everywhere(454) => args!(OTHER OTHER TIMEOUT FUTEX2);
    futex_wait = Everywhere(455) => args!(OTHER OTHER OTHER FUTEX2 OTHER CLOCK);
    futex_requeue = Everywhere(456) => args!(OTHER NO_FLAGS TIMEOUT TIMEOUT);
    statmount = Everywhere(457) => args!(OTHER OTHER STRUCT_SIZE NO_FLAGS);
    listmount = Everywhere(458) => args!(OTHER OTHER STRUCT_SIZE NO_FLAGS);
    lsm_get_self_attr = Everywhere(459) => args!(LANDLOCK OTHER OTHER NO_FLAGS);
    lsm_set_self_attr = Everywhere(460) => args!(LANDLOCK OTHER STRUCT_SIZE NO_FLAGS);
    lsm_list_modules = Everywhere(461) => args!(OTHER OTHER NO_FLAGS);
    mseal = Everywhere(462) => args!(ROOM LENGTH NO_FLAGS);
    setxattrat = Everywhere(463) => args!(DIR OTHER AT OTHER OTHER STRUCT_SIZE);
    getxattrat = Everywhere(464) => args!(DIR OTHER AT OTHER OTHER STRUCT_SIZE);
    listxattrat = Everywhere(465) => args!(DIR OTHER AT OTHER XATTR_SIZE);
    removexattrat = Everywhere(466) => args!(DIR OTHER AT);
    open_tree_attr = Everywhere(467) => args!(DIR OTHER NEW_MOUNT OTHER STRUCT_SIZE);
    file_getattr = Everywhere(468) => args!(DIR OTHER OTHER STRUCT_SIZE AT);
    file_setattr = Everywhere(469) => args!(DIR OTHER OTHER STRUCT_SIZE AT);

    // Calls that are not in the x86_64 table: those of i386, and of the generic table of newer architectures.
    _llseek => args!(FD OTHER OTHER OTHER WHENCE);
    _newselect => args!(FDS);
    chown32 => args!(OTHER ID ID);
    clock_adjtime64 => args!(CLOCK);
    clock_getres_time64 => args!(CLOCK);
    clock_gettime64 => args!(CLOCK);
    clock_nanosleep_time64 => args!(CLOCK TIMER);
    clock_settime64 => args!(CLOCK);
    fadvise64_64 => args!(FD OTHER OTHER OTHER OTHER FADVICE);
    fchown32 => args!(FD ID ID);
    fcntl64 => args!(FD FCNTL);
    fstat64 => args!(FD);
    fstatat64 => args!(DIR OTHER OTHER AT);
    fstatfs64 => args!(FD STRUCT_SIZE);
    ftruncate64 => args!(FD);
    futex_time64 => args!(OTHER FUTEX);
    getegid32 => args!();
    geteuid32 => args!();
    getgid32 => args!();
    getgroups32 => args!(GROUPS);
    getresgid32 => args!();
    getresuid32 => args!();
    getuid32 => args!();
    io_pgetevents_time64 => args!();
    ipc => args!(IPC_CALL);
    lchown32 => args!(OTHER ID ID);
    lstat64 => args!();
    mmap2 => args!(ROOM LENGTH PROT MAP FD);
    mq_timedreceive_time64 => args!(FD ROOM COUNT);
    mq_timedsend_time64 => args!(FD ROOM COUNT);
    nice => args!(NICE);
    oldfstat => args!(FD);
    oldlstat => args!();
    oldolduname => args!();
    oldstat => args!();
    olduname => args!();
    ppoll_time64 => args!(OTHER FDS OTHER OTHER SIGSET_SIZE);
    pselect6_time64 => args!(FDS);
    readdir => args!(FD);
    recvmmsg_time64 => args!(FD OTHER FDS MSG);
    rt_sigtimedwait_time64 => args!(OTHER OTHER OTHER SIGSET_SIZE);
    sched_rr_get_interval_time64 => args!(PID);
    semtimedop_time64 => args!(OTHER OTHER IOVECS);
    sendfile64 => args!(FD FD OTHER COUNT);
    setfsgid32 => args!(ID);
    setfsuid32 => args!(ID);
    setgid32 => args!(ID);
    setgroups32 => args!(GROUPS);
    setregid32 => args!(ID ID);
    setresgid32 => args!(ID ID ID);
    setresuid32 => args!(ID ID ID);
    setreuid32 => args!(ID ID);
    setuid32 => args!(ID);
    sgetmask => args!();
    sigaction => args!(SIGNAL);
    signal => args!(SIGNAL);
    sigpending => args!();
    sigprocmask => args!(MASK_HOW);
    sigreturn => args!();
    sigsuspend => args!();
    socketcall => args!(SOCKETCALL);
    ssetmask => args!();
    stat64 => args!();
    statfs64 => args!(OTHER STRUCT_SIZE);
    stime => args!();
    sync_file_range2 => args!(FD SYNC_RANGE);
    timer_gettime64 => args!();
    timer_settime64 => args!(OTHER TIMER);
    timerfd_gettime64 => args!(FD);
    timerfd_settime64 => args!(FD TIMER);
    truncate64 => args!();
    ugetrlimit => args!(RLIMIT);
    umount => args!();
    utimensat_time64 => args!(DIR OTHER OTHER AT);
    vm86 => args!(WAIT_ID);
    vm86old => args!();
    waitpid => args!(PID OTHER WAIT);
}
