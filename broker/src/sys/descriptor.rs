//! Descriptors of other threads: which files they refer to.

use super::file::{file_facts, id_of, statx};
use super::{memfd, procfs};
use indexmap::IndexMap;
use kcov_proto::message::FileId;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

/// Most threads whose `/proc/TID/fd` is kept open: about as many as call at the same time.
const MOST: usize = 64;

/// Descriptor tables of threads, read through procfs.
///
/// The directory `/proc/TID/fd` stays open for the most recent threads: opening it is a third of the cost of
/// a look-up. It refers to the thread and not to its number, and is empty once that thread is gone.
#[derive(Debug, Default)]
pub struct Tables {
    open: IndexMap<u32, OwnedFd>,
    /// Mount and device of this machine's memfds, once they are known.
    memfds: Option<(u64, u64)>,
}

impl Tables {
    /// Closes them all.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Returns the file that descriptor `fd` of thread `tid` refers to in the thread's own table, without
    /// duplicating it.
    ///
    /// # Errors
    /// `ENOENT` if there is no such descriptor or thread. `EACCES` for a file other than a memfd if the table may not
    /// be read.
    pub fn identity(&mut self, tid: u32, fd: i32) -> Result<FileId, Errno> {
        if let Some(table) = self.open.get(&tid) {
            match stat(table, fd) {
                // No such descriptor; or the thread is gone, and another one has its number.
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

    /// As [`identity`](Self::identity), for a memfd, through `fdinfo`, which needs only the right to trace.
    /// The table of a process that is not dumpable belongs to root (`task_dump_owner`, fs/proc/base.c), and a
    /// rootless broker may not enter it.
    ///
    /// All memfds are in one mount of the kernel's own, so mount and inode identify them. A duplicate of the
    /// descriptor would have to be closed, and that could wait for a file system of the tenant's.
    fn memfd_identity(&mut self, tid: u32, fd: i32) -> Result<FileId, Errno> {
        let (mount, device) = match self.memfds {
            Some(known) => known,
            None => {
                let probe = memfd::create(c"kcov-probe")?;
                let facts = file_facts(probe.as_fd())?;
                *self.memfds.insert((facts.mount, facts.id.device))
            }
        };
        match procfs::descriptor_place(tid, fd) {
            Some((place, inode)) if place == mount => Ok(FileId { device, inode }),
            Some(_) => Err(Errno::EACCES),
            None => Err(Errno::ENOENT),
        }
    }

    /// Returns how descriptor `fd` of thread `tid` may be used, from the mode of its link in procfs
    /// (`tid_fd_update_inode`, `fs/proc/fd.c`). The fdinfo has it too, but reading it calls the file's own
    /// operations, which can wait forever if the file is the tenant's.
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
        let link = match stat_entry(table, fd, libc::AT_SYMLINK_NOFOLLOW, libc::STATX_MODE) {
            // As in `memfd_identity`; assume the common case.
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

/// How a descriptor may be used. Neither: it was opened with `O_PATH`, or with access mode 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// For reading.
    pub readable: bool,
    /// For writing.
    pub writable: bool,
}

impl Access {
    /// That of a descriptor with these open flags.
    #[must_use]
    pub fn of_flags(flags: i32) -> Self {
        let mode = flags & (libc::O_ACCMODE | libc::O_PATH);
        let both = mode == libc::O_RDWR;
        Access { readable: both || mode == libc::O_RDONLY, writable: both || mode == libc::O_WRONLY }
    }
}

/// `AT_STATX_DONT_SYNC`: the server of a FUSE or network file system is not asked, so this never waits for a
/// tenant.
fn stat(table: &OwnedFd, fd: i32) -> Result<FileId, Errno> {
    let found = stat_entry(table, fd, libc::AT_STATX_DONT_SYNC | libc::AT_NO_AUTOMOUNT, libc::STATX_INO)?;
    Ok(id_of(&found))
}

/// Bytes of a number: a sign, ten digits, and a NUL.
const NUMBER: usize = 12;

/// Formats `fd` in decimal. Each KCOV request needs two of these, and this costs a tenth of `format!`.
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

fn stat_entry(
    table: &OwnedFd,
    fd: i32,
    flags: libc::c_int,
    mask: libc::c_uint,
) -> Result<libc::statx, Errno> {
    statx(table.as_fd(), decimal(fd, &mut [0; NUMBER]), flags, mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    /// The kernel reports thread 0 for a caller outside of the receiver's PID namespace.
    #[test]
    fn a_caller_outside_of_the_pid_namespace_has_no_descriptors() {
        let mut tables = Tables::default();
        assert_eq!(tables.identity(0, 0), Err(Errno::ENOENT));
        assert_eq!(tables.access(0, 0), Err(Errno::ENOENT));
    }

    #[test]
    fn decimal_formats_as_to_string_does() {
        for fd in [0, 7, 10, 99, 100, 1_048_575, i32::MAX, -1, -100, i32::MIN] {
            assert_eq!(decimal(fd, &mut [0xff; NUMBER]).to_str(), Ok(&*fd.to_string()));
        }
    }

    #[test]
    fn access_follows_the_open_flags() {
        let own = nix::unistd::gettid().as_raw().cast_unsigned();
        let tables = Tables::default();
        for (flags, readable, writable) in
            [(OFlag::O_RDWR, true, true), (OFlag::O_RDONLY, true, false), (OFlag::O_PATH, false, false)]
        {
            let file = open("/dev/null", flags, Mode::empty()).expect("open");
            assert_eq!(tables.access(own, file.as_raw_fd()), Ok(Access { readable, writable }), "{flags:?}");
            assert_eq!(Access::of_flags(flags.bits()), Access { readable, writable }, "{flags:?}");
        }
    }
}
