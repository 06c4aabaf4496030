//! Identity of a descriptor of another thread.

use kcov_proto::message::FileId;
use nix::errno::Errno;
use std::io::Write;
use std::mem::MaybeUninit;

/// Which file descriptor `fd` of thread `tid` refers to, by its own descriptor table, without holding it.
///
/// `AT_STATX_DONT_SYNC`: a file of a FUSE or network file system is not asked, so this never waits for a tenant.
///
/// # Errors
/// `ENOENT` if there is no such descriptor or thread.
pub fn identity(tid: u32, fd: i32) -> Result<FileId, Errno> {
    // "/proc/" + 10 digits + "/fd/" + 11 characters + NUL.
    let mut path = [0u8; 40];
    write!(&mut path[..39], "/proc/{tid}/fd/{fd}").map_err(|_| Errno::ENAMETOOLONG)?;
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the path ends in a NUL, as the last byte of the array is never written, and `found` has room for the
    // structure that the kernel writes.
    let done = unsafe {
        libc::statx(libc::AT_FDCWD, path.as_ptr().cast(), flags, libc::STATX_INO, found.as_mut_ptr())
    };
    Errno::result(done)?;
    // SAFETY: statx succeeded, so the kernel wrote the whole structure.
    let found = unsafe { found.assume_init() };
    let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
    Ok(FileId { device, inode: found.stx_ino })
}
