//! What the kernel tells about another process: identity of a task, identity of a file.

use kcov_proto::message::FileId;
use nix::errno::Errno;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `PIDFD_THREAD`: a pidfd of this very thread (`include/uapi/linux/pidfd.h`, Linux 6.9).
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;

/// `struct pidfd_info` as Linux 6.13 has it (`PIDFD_INFO_SIZE_VER0`).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroupid: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

mod raw {
    nix::ioctl_readwrite!(pidfd_get_info, 0xff, 11, super::PidfdInfo);
}

/// What `PIDFD_GET_INFO` says of a task, numbered as the asking process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskInfo {
    /// Its thread group.
    pub tgid: u32,
    /// The thread group of its real parent; 0 if that is outside the asker's PID namespace.
    pub ppid: u32,
}

/// What `statx` says of an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Device and inode.
    pub id: FileId,
    /// Mount that it was reached through (`STATX_MNT_ID`, Linux 5.8).
    pub mount: u64,
    /// `S_IFMT` bits and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
}

impl FileFacts {
    /// Whether the type is `S_IFDIR`.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// Whether the type is `S_IFLNK`.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }
}

/// A pidfd of the thread `tid` (Linux 6.9), or of the process of that number.
///
/// # Errors
/// `ESRCH` if there is none; `EINVAL` where the kernel has no pidfds of threads.
pub fn pidfd_open(tid: u32, thread: bool) -> Result<OwnedFd, Errno> {
    let flags = if thread { PIDFD_THREAD } else { 0 };
    // SAFETY: pidfd_open takes two integers and no memory.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, tid, flags) })?;
    // SAFETY: the kernel has just made this descriptor for this process; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Whether the task of `pidfd` still has its number: until it is reaped no other task can have it.
#[must_use]
pub fn holds_number(pidfd: BorrowedFd<'_>) -> bool {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: signal 0 delivers nothing; a null siginfo is allowed, and nothing else is pointed to.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), 0, none, 0) };
    // EPERM is said of a live task only: the permission check follows the look-up (kernel/signal.c, 6.12).
    !matches!(Errno::result(result), Err(Errno::ESRCH))
}

/// Asks a pidfd for its task (`PIDFD_GET_INFO`, Linux 6.13).
///
/// # Errors
/// `ESRCH` if the task is gone; `ENOTTY` or `EINVAL` on older kernels.
pub fn task_info(pidfd: BorrowedFd<'_>) -> Result<TaskInfo, Errno> {
    let mut info = PidfdInfo::default();
    // SAFETY: the kernel writes at most the 64 bytes that the request number encodes, the size of `info`.
    unsafe { raw::pidfd_get_info(pidfd.as_raw_fd(), &raw mut info) }?;
    let PidfdInfo { tgid, ppid, .. } = info;
    Ok(TaskInfo { tgid, ppid })
}

/// Facts of the file that `fd` is a descriptor of.
///
/// # Errors
/// As `statx(2)`.
pub fn file_facts(fd: BorrowedFd<'_>) -> Result<FileFacts, Errno> {
    file_facts_at(fd, c"")
}

/// Facts of the file `name` in `directory`; a symbolic link is not followed, nothing is synchronised.
///
/// # Errors
/// As `statx(2)`.
pub fn file_facts_at(directory: BorrowedFd<'_>, name: &CStr) -> Result<FileFacts, Errno> {
    const FLAGS: libc::c_int =
        libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
    const MASK: libc::c_uint =
        libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_INO | libc::STATX_UID | libc::STATX_MNT_ID;
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: `name` is NUL-terminated and `found` has room for the struct statx that the kernel writes.
    Errno::result(unsafe {
        libc::statx(directory.as_raw_fd(), name.as_ptr(), FLAGS, MASK, found.as_mut_ptr())
    })?;
    // SAFETY: statx succeeded, so the kernel wrote the whole structure.
    let found = unsafe { found.assume_init() };
    Ok(FileFacts {
        id: FileId {
            device: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
            inode: found.stx_ino,
        },
        mount: found.stx_mnt_id,
        mode: u32::from(found.stx_mode),
        uid: found.stx_uid,
    })
}

/// Ends this process at once, without the exit handlers that a forked child inherited from its parent.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes an integer, touches no memory and does not return.
    unsafe { libc::_exit(status) }
}
