//! Facts about files, and their flags.

use kcov_proto::message::FileId;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `FS_IMMUTABLE_FL` (`include/uapi/linux/fs.h`).
const IMMUTABLE: libc::c_int = 0x10;

/// Facts about a file, from `statx`.
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
    /// Returns whether the type is `S_IFDIR`.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// Returns whether the type is `S_IFLNK`.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFLNK
    }
}

/// Returns the facts about the file that `fd` is a descriptor of.
///
/// # Errors
/// As `statx(2)`.
pub fn file_facts(fd: BorrowedFd<'_>) -> Result<FileFacts, Errno> {
    file_facts_at(fd, c"")
}

/// Returns the facts about the file `name` in `directory`. Does not follow a symbolic link and does not
/// synchronise.
///
/// # Errors
/// As `statx(2)`.
pub fn file_facts_at(directory: BorrowedFd<'_>, name: &CStr) -> Result<FileFacts, Errno> {
    const FLAGS: libc::c_int =
        libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
    const MASK: libc::c_uint =
        libc::STATX_TYPE | libc::STATX_MODE | libc::STATX_INO | libc::STATX_UID | libc::STATX_MNT_ID;
    let found = statx(directory, name, FLAGS, MASK)?;
    Ok(FileFacts {
        id: id_of(&found),
        mount: found.stx_mnt_id,
        mode: u32::from(found.stx_mode),
        uid: found.stx_uid,
    })
}

/// Returns device and inode of a result of [`statx`].
pub(super) fn id_of(found: &libc::statx) -> FileId {
    let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
    FileId { device, inode: found.stx_ino }
}

/// `statx(2)`.
pub(super) fn statx(
    directory: BorrowedFd<'_>,
    name: &CStr,
    flags: libc::c_int,
    mask: libc::c_uint,
) -> Result<libc::statx, Errno> {
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: `name` is NUL-terminated and `found` has room for the structure that the kernel writes.
    let done = unsafe { libc::statx(directory.as_raw_fd(), name.as_ptr(), flags, mask, found.as_mut_ptr()) };
    Errno::result(done)?;
    // SAFETY: statx succeeded, so the kernel wrote the whole structure.
    Ok(unsafe { found.assume_init() })
}

/// Returns whether a file has an access control list (`acl(5)`), which can grant more than its mode bits.
/// Returns `false` if that cannot be found out.
#[must_use]
pub fn has_access_list(path: &Path) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    let name = c"system.posix_acl_access";
    // SAFETY: both names are C strings that outlive the call; with a size of 0 the kernel writes nothing
    // (getxattr(2)).
    unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}

/// Makes `directory` immutable, so that adding, removing or renaming an entry fails with `EPERM`, also for
/// root. `directory` must not be opened with `O_PATH`.
///
/// # Errors
/// `ENOTTY` or `EOPNOTSUPP` where the file system has no such flag (tmpfs before Linux 6.6), `EPERM` without
/// `CAP_LINUX_IMMUTABLE` in the first user namespace.
pub fn make_immutable(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = IMMUTABLE;
    // SAFETY: the kernel reads one int (`ioctl_setflags`, fs/ioctl.c, Linux 6.12), which outlives the call.
    let done = unsafe { libc::ioctl(directory.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) };
    Errno::result(done).map(drop)
}
