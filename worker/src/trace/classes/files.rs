//! Files: descriptors, paths, flags.

use super::argument::{ArgTest, Class, bound, byte, int, long, short};

/// Size of the descriptor table of a new process (`NR_OPEN_DEFAULT`), with which `files_lookup_fd_raw` compares.
const OPEN_FILES: ArgTest = bound(64);

/// A descriptor.
pub const FD: Class = &[OPEN_FILES];
/// The directory descriptor of a relative path.
pub const DIR: Class = &[int(libc::AT_FDCWD as i64), OPEN_FILES];
/// Target descriptor of `dup2`; the bound is `sysctl_nr_open` (fs/file.c).
pub const NEW_FD: Class = &[OPEN_FILES, int(0x10_0000)];
/// A number of bytes to read or write (`MAX_RW_COUNT`).
pub const COUNT: Class = &[long(0x7fff_f000)];
/// A number of `iovec`s (`UIO_FASTIOV`, `UIO_MAXIOV`).
pub const IOVECS: Class = &[long(8), long(1024)];
/// Flags of `preadv2` and `pwritev2`.
pub const RWF: Class = &[int(0x1), int(0x2), int(0x8), int(0x10)];
/// A position in a file (`LLONG_MAX`).
pub const OFFSET: Class = &[long(i64::MAX as u64)];
/// `whence` of `lseek`.
pub const WHENCE: Class = &[int(1), int(2), int(libc::SEEK_DATA as i64), int(libc::SEEK_HOLE as i64)];

/// Flags of `open`.
pub const OPEN: Class = &[
    int((libc::O_CREAT | libc::O_RDWR) as i64),
    int((libc::O_CREAT | libc::O_EXCL) as i64),
    int(libc::O_DIRECTORY as i64),
    int(libc::O_NOFOLLOW as i64),
    int(libc::O_PATH as i64),
    int((libc::O_TMPFILE | libc::O_RDWR) as i64),
    int((libc::O_WRONLY | libc::O_TRUNC) as i64),
];
/// `umode_t` (`S_IALLUGO`).
pub const MODE: Class = &[short(0o7777)];
/// `umode_t` with a file type.
pub const NODE: Class = &[
    short(libc::S_IFREG as u64),
    short(libc::S_IFCHR as u64),
    short(libc::S_IFBLK as u64),
    short(libc::S_IFIFO as u64),
    short(libc::S_IFSOCK as u64),
];
/// Mode of `access`.
pub const ACCESS: Class = &[int(libc::R_OK as i64), int((libc::R_OK | libc::W_OK | libc::X_OK) as i64)];
/// `AT_*`.
pub const AT: Class = &[
    int(libc::AT_SYMLINK_NOFOLLOW as i64),
    int(libc::AT_EMPTY_PATH as i64),
    int(libc::AT_NO_AUTOMOUNT as i64),
    int(libc::AT_SYMLINK_FOLLOW as i64),
];
/// Flags of `unlinkat`.
pub const UNLINK: Class = &[int(libc::AT_REMOVEDIR as i64)];
/// `RENAME_*`.
pub const RENAME: Class = &[int(1), int(2), int(4)];
/// A mask of `statx`.
pub const STATX: Class = &[int(0x7ff), int(0xfff)];
/// Size of `struct open_how`, `struct clone_args` and the like, which are extensible (at most `PAGE_SIZE`).
pub const STRUCT_SIZE: Class = &[long(4096), long(24), long(64)];

/// Commands of `fcntl`.
pub const FCNTL: Class = &[
    int(libc::F_GETFL as i64),
    int(libc::F_SETFL as i64),
    int(libc::F_SETLK as i64),
    int(libc::F_DUPFD_CLOEXEC as i64),
    int(libc::F_SETLEASE as i64),
    int(libc::F_NOTIFY as i64),
    int(libc::F_SETPIPE_SZ as i64),
    int(libc::F_ADD_SEALS as i64),
];
/// `ioctl` requests: generic ones (`do_vfs_ioctl`), terminals, block devices, and the type byte of others.
pub const REQUEST: Class = &[
    int(libc::FIOCLEX as i64),
    int(libc::FIONBIO as i64),
    int(libc::FIONREAD as i64),
    int(libc::FIOASYNC as i64),
    int(0xc020_660b), // FS_IOC_FIEMAP
    int(0x4004_9409), // FICLONE
    int(libc::TCGETS as i64),
    int(libc::TIOCGWINSZ as i64),
    int(0x8008_1272), // BLKGETSIZE64
    byte(8, b'T'),
    byte(8, b'f'),
    byte(8, 0x12), // block devices
    byte(8, 0x89), // sockets
];
/// `LOCK_*`.
pub const FLOCK: Class =
    &[int(libc::LOCK_SH as i64), int((libc::LOCK_EX | libc::LOCK_NB) as i64), int(libc::LOCK_UN as i64)];
/// `FALLOC_FL_*`.
pub const FALLOCATE: Class = &[int(1), int(3), int(8), int(16), int(32)];
/// `POSIX_FADV_*`.
pub const FADVICE: Class = &[int(1), int(2), int(3), int(4), int(5)];
/// `SYNC_FILE_RANGE_*`.
pub const SYNC_RANGE: Class = &[int(1), int(2), int(7)];
/// `SPLICE_F_*`.
pub const SPLICE: Class = &[int(1), int(2), int(8)];
/// Flags that give a new descriptor close-on-exec or non-blocking: `pipe2`, `dup3`, `eventfd2`...
pub const NEW_FLAGS: Class = &[
    int(libc::O_CLOEXEC as i64),
    int(libc::O_NONBLOCK as i64),
    int((libc::O_CLOEXEC | libc::O_NONBLOCK) as i64),
];
/// Flags of `close_range`.
pub const CLOSE_RANGE: Class = &[int(2), int(4)];
/// `XATTR_*`.
pub const XATTR: Class = &[int(1), int(2)];
/// Size of an extended attribute, in bytes (`XATTR_SIZE_MAX`).
pub const XATTR_SIZE: Class = &[long(65536)];
/// Mask of inotify (`IN_ALL_EVENTS`, `IN_MASK_CREATE`).
pub const INOTIFY: Class = &[int(0xfff), int(0x1000_0000)];
/// Flags of `fanotify_init` and `fanotify_mark`.
pub const FANOTIFY: Class = &[int(0x4), int(0x8), int(0x200), int(0x400)];
/// Operations of `epoll_ctl`.
pub const EPOLL: Class =
    &[int(libc::EPOLL_CTL_ADD as i64), int(libc::EPOLL_CTL_DEL as i64), int(libc::EPOLL_CTL_MOD as i64)];
/// A number of events to wait for (`EP_MAX_EVENTS`).
pub const EVENTS: Class = &[int(0x0aaa_aaaa)];
/// A number of descriptors to wait for; the bound is the caller's limit.
pub const FDS: Class = &[bound(1024)];
/// A timeout in milliseconds; -1 is infinite.
pub const TIMEOUT: Class = &[int(-1)];

/// `MS_*` of `mount`.
pub const MOUNT: Class = &[
    long(libc::MS_BIND),
    long(libc::MS_REMOUNT),
    long(libc::MS_MOVE),
    long(libc::MS_PRIVATE | libc::MS_REC),
    long(libc::MS_SHARED),
    long(libc::MS_RDONLY),
];
/// Flags of `umount2`.
pub const UMOUNT: Class =
    &[int(libc::MNT_FORCE as i64), int(libc::MNT_DETACH as i64), int(libc::MNT_EXPIRE as i64)];
/// Flags of `open_tree`, `fsopen`, `fsmount`, `fspick`.
pub const NEW_MOUNT: Class = &[int(1), int(0x8000)];
/// Commands of `fsconfig`.
pub const FSCONFIG: Class = &[int(1), int(5), int(6), int(7)];
/// The command byte of `quotactl`, above the type of the quota.
pub const QUOTA: Class = &[byte(8, 1), byte(8, 2), byte(8, 7), byte(8, 8), int(0x8000_0100_u32 as i64)];
