//! Bind mounts by descriptor: `open_tree` and `move_mount` (Linux 5.2).

use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `OPEN_TREE_CLONE` (`include/uapi/linux/mount.h`).
const OPEN_TREE_CLONE: libc::c_uint = 1;
/// `OPEN_TREE_CLOEXEC`.
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
/// `MOVE_MOUNT_F_EMPTY_PATH`: moves the mount that the descriptor refers to.
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
/// `MOVE_MOUNT_T_EMPTY_PATH`: the place is the directory itself.
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

/// Makes a detached copy of the mount at `name` in `directory` (of the directory itself if `name` is empty),
/// with the mounts below it if `recursive`. Does not follow a symbolic link or trigger an automount.
///
/// # Errors
/// As `open_tree(2)`.
pub fn clone_tree(directory: BorrowedFd<'_>, name: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    let at = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH | below;
    let flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | at as libc::c_uint;
    // SAFETY: `name` is a NUL-terminated string that outlives the call; the rest are integers.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, directory.as_raw_fd(), name.as_ptr(), flags) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made this descriptor for this process, and no owner has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches the detached `tree` over `name` in `directory`, or over the directory itself if the name is empty.
///
/// # Errors
/// As `move_mount(2)`.
pub fn attach(tree: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let (from, to) = (tree.as_raw_fd(), directory.as_raw_fd());
    let place = if name.is_empty() { MOVE_MOUNT_T_EMPTY_PATH } else { 0 };
    let flags = MOVE_MOUNT_F_EMPTY_PATH | place;
    // SAFETY: both names are NUL-terminated strings that outlive the call; the rest are integers.
    let result = unsafe {
        let empty = c"".as_ptr();
        libc::syscall(libc::SYS_move_mount, from, empty, to, name.as_ptr(), flags)
    };
    Errno::result(result).map(drop)
}
