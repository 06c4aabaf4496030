//! Identity of a descriptor of another thread.

use indexmap::IndexMap;
use kcov_proto::message::FileId;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

/// Most threads whose `/proc/TID/fd` is kept open: the callers of one moment.
const MOST: usize = 64;

/// Descriptor tables of threads, by way of procfs.
///
/// A directory is kept open for the threads that asked last: the way there is a third of the look-up. It stands for the
/// thread and not for its number, and is empty once that thread is gone.
#[derive(Debug, Default)]
pub struct Tables {
    open: IndexMap<u32, OwnedFd>,
}

impl Tables {
    /// Which file descriptor `fd` of thread `tid` refers to, by its own descriptor table, without holding it.
    ///
    /// # Errors
    /// `ENOENT` if there is no such descriptor or thread.
    pub fn identity(&mut self, tid: u32, fd: i32) -> Result<FileId, Errno> {
        if let Some(table) = self.open.get(&tid) {
            match stat(table, fd) {
                // No such descriptor; or no such thread any more, and another one has the number.
                Err(_) => drop(self.open.swap_remove(&tid)),
                found => return found,
            }
        }
        let path = format!("/proc/{tid}/fd");
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let table = open(path.as_str(), flags, Mode::empty())?;
        let found = stat(&table, fd)?;
        if self.open.len() >= MOST {
            self.open.shift_remove_index(0);
        }
        self.open.insert(tid, table);
        Ok(found)
    }
}

/// `AT_STATX_DONT_SYNC`: a file of a FUSE or network file system is not asked, so this never waits for a tenant.
fn stat(table: &OwnedFd, fd: i32) -> Result<FileId, Errno> {
    // 11 characters of a number, and a NUL.
    let mut name = [0u8; 12];
    write!(&mut name[..11], "{fd}").map_err(|_| Errno::ENAMETOOLONG)?;
    let flags = libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT;
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the name ends in a NUL, as the last byte of the array is never written, and `found` has room for the
    // structure that the kernel writes.
    let done = unsafe {
        libc::statx(table.as_raw_fd(), name.as_ptr().cast(), flags, libc::STATX_INO, found.as_mut_ptr())
    };
    Errno::result(done)?;
    // SAFETY: statx succeeded, so the kernel wrote the whole structure.
    let found = unsafe { found.assume_init() };
    let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
    Ok(FileId { device, inode: found.stx_ino })
}
