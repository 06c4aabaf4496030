//! Identity of a descriptor of another thread.

use super::{memfd, process};
use crate::sys::procfs;
use indexmap::IndexMap;
use kcov_proto::message::FileId;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Most threads whose `/proc/TID/fd` is kept open: the callers of one moment.
const MOST: usize = 64;

/// Descriptor tables of threads, by way of procfs.
///
/// A directory is kept open for the threads that asked last: the way there is a third of the look-up. It stands for the
/// thread and not for its number, and is empty once that thread is gone.
#[derive(Debug, Default)]
pub struct Tables {
    open: IndexMap<u32, OwnedFd>,
    /// Mount and device of this machine's memfds, once they were asked for.
    memfds: Option<(u64, u64)>,
}

impl Tables {
    /// Closes them all.
    pub fn clear(&mut self) {
        self.open.clear();
    }

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
        let table = open_table(tid)?;
        let found = match stat(&table, fd) {
            Err(Errno::EACCES) => return self.memfd_identity(tid, fd),
            found => found?,
        };
        if self.open.len() >= MOST {
            self.open.shift_remove_index(0);
        }
        self.open.insert(tid, table);
        Ok(found)
    }

    /// The same for a memfd, by way of `fdinfo`, which asks for the right to trace alone. The table of a process that
    /// is not dumpable belongs to root (`task_dump_owner`, fs/proc/base.c), and a rootless broker may not enter it.
    ///
    /// All memfds are in one mount that nobody else can have, so mount and inode tell them apart. Unlike a duplicate
    /// of the descriptor, this closes nothing: that could wait for a file system of the tenant's.
    fn memfd_identity(&mut self, tid: u32, fd: i32) -> Result<FileId, Errno> {
        let (mount, device) = match self.memfds {
            Some(known) => known,
            None => {
                let probe = memfd::create(c"kcov-probe")?;
                let facts = process::file_facts(probe.as_fd())?;
                *self.memfds.insert((facts.mount, facts.id.device))
            }
        };
        match procfs::descriptor_place(tid, fd) {
            Some((place, inode)) if place == mount => Ok(FileId { device, inode }),
            Some(_) | None => Err(Errno::ENOENT),
        }
    }

    /// How descriptor `fd` of thread `tid` may be used: the mode of its link in procfs says it (`tid_fd_update_inode`,
    /// `fs/proc/fd.c`). Its fdinfo would too, but that asks the file, and a tenant's can make whoever asks wait for ever.
    ///
    /// # Errors
    /// As [`identity`](Self::identity).
    pub fn access(&self, tid: u32, fd: i32) -> Result<Access, Errno> {
        let opened;
        let table = match self.open.get(&tid) {
            Some(table) => table,
            None => {
                opened = open_table(tid)?;
                &opened
            }
        };
        let link = match statx(table, fd, libc::AT_SYMLINK_NOFOLLOW, libc::STATX_MODE) {
            // As for `memfd_identity`: what cannot be seen is taken for the common case.
            Err(Errno::EACCES) => return Ok(Access { readable: true, writable: true }),
            link => link?,
        };
        let has = |bit: libc::mode_t| u32::from(link.stx_mode) & bit != 0;
        Ok(Access { readable: has(libc::S_IRUSR), writable: has(libc::S_IWUSR) })
    }
}

fn open_table(tid: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(format!("/proc/{tid}/fd").as_str(), flags, Mode::empty())
}

/// How a descriptor may be used. One of neither kind was opened with `O_PATH`, or with access mode 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// For reading.
    pub readable: bool,
    /// For writing.
    pub writable: bool,
}

/// `AT_STATX_DONT_SYNC`: a file of a FUSE or network file system is not asked, so this never waits for a tenant.
fn stat(table: &OwnedFd, fd: i32) -> Result<FileId, Errno> {
    let found = statx(table, fd, libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT, libc::STATX_INO)?;
    let device = u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor);
    Ok(FileId { device, inode: found.stx_ino })
}

/// Bytes of a number: a sign, ten digits, and a NUL.
const NUMBER: usize = 12;

/// `fd` in decimal. Each of KCOV's requests asks for two of these, at a tenth of the price of a formatter.
fn decimal(fd: i32, room: &mut [u8; NUMBER]) -> &CStr {
    let (mut at, mut rest) = (NUMBER - 1, fd.unsigned_abs());
    room[at] = 0;
    while at == NUMBER - 1 || rest != 0 {
        at -= 1;
        room[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    if fd < 0 {
        at -= 1;
        room[at] = b'-';
    }
    CStr::from_bytes_until_nul(&room[at..]).unwrap_or_default()
}

fn statx(table: &OwnedFd, fd: i32, flags: libc::c_int, mask: libc::c_uint) -> Result<libc::statx, Errno> {
    let mut room = [0; NUMBER];
    let name = decimal(fd, &mut room);
    let mut found = MaybeUninit::<libc::statx>::uninit();
    // SAFETY: the name ends in a NUL, and `found` has room for the structure that the kernel writes.
    let done = unsafe { libc::statx(table.as_raw_fd(), name.as_ptr(), flags, mask, found.as_mut_ptr()) };
    Errno::result(done)?;
    // SAFETY: statx succeeded, so the kernel wrote the whole structure.
    Ok(unsafe { found.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel says 0 of a caller outside of the PID namespace of who receives its notifications.
    #[test]
    fn a_caller_that_cannot_be_seen_has_no_descriptors() {
        let mut tables = Tables::default();
        assert_eq!(tables.identity(0, 0), Err(Errno::ENOENT));
        assert_eq!(tables.access(0, 0), Err(Errno::ENOENT));
    }

    #[test]
    fn numbers_are_as_everywhere() {
        for fd in [0, 7, 10, 99, 100, 1_048_575, i32::MAX, -1, -100, i32::MIN] {
            assert_eq!(decimal(fd, &mut [0xff; NUMBER]).to_str(), Ok(&*fd.to_string()));
        }
    }

    #[test]
    fn a_path_alone_is_neither_read_nor_written() {
        let own = nix::unistd::gettid().as_raw().cast_unsigned();
        let tables = Tables::default();
        for (flags, readable, writable) in
            [(OFlag::O_RDWR, true, true), (OFlag::O_RDONLY, true, false), (OFlag::O_PATH, false, false)]
        {
            let file = open("/dev/null", flags, Mode::empty()).expect("open");
            assert_eq!(tables.access(own, file.as_raw_fd()), Ok(Access { readable, writable }), "{flags:?}");
        }
    }
}
