//! Locks that tell open file descriptions apart.
//!
//! Two descriptors are of the same open if they share an open file description. The kernel says so only to a process that
//! holds one of them, and a held description hides its own last close. So descriptions are marked: with an OFD lock
//! (`fcntl(2)`) on one byte of the file. The lock belongs to the description, shows in `/proc/PID/fdinfo` of each of its
//! descriptors, and ends with its last close.
//!
//! The position of a mark is the identity of the open. It is [`BLANK`] or above, where programs do not lock.
//!
//! Descriptions of arenas, which the broker makes, have a lock of another kind (`flock(2)`): it tells them from those that
//! the tenant makes by opening the file again. Such a lock conflicts with no lock of `fcntl(2)` that a program sets.
//!
//! A tenant can lock and unlock its own descriptions. It can make the broker forget which instance an open is, or take one
//! of its opens for another of the same tenant that is read-only.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// First position of marks of blank files.
pub const BLANK: u64 = 1 << 62;

/// The lock on the byte at `position`.
fn lock(kind: i32, position: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: position.cast_signed(),
        l_len: 1,
        l_pid: 0,
    }
}

/// Marks a description, which was opened with `flags`.
///
/// # Errors
/// As `fcntl(2)`: `EBADF` for access mode 3, `EAGAIN` if another description has the mark.
pub fn place(description: BorrowedFd<'_>, position: u64, flags: i32) -> Result<(), Errno> {
    let kind = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => libc::F_RDLCK,
        _ => libc::F_WRLCK,
    };
    fcntl(description, FcntlArg::F_OFD_SETLK(&lock(kind, position))).map(drop)
}

/// The mark of an open of a blank file.
#[derive(Clone, Debug)]
pub struct Mark {
    /// A description of the file, of the broker's own.
    file: Rc<OwnedFd>,
    position: u64,
}

impl Mark {
    /// The mark at `position` of `file`.
    #[must_use]
    pub fn new(file: Rc<OwnedFd>, position: u64) -> Self {
        Mark { file, position }
    }

    /// Where it is.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether a description still has it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let mut found = lock(libc::F_WRLCK, self.position);
        let asked = fcntl(self.file.as_fd(), FcntlArg::F_OFD_GETLK(&mut found));
        // If it cannot be told, the open counts as closed: its instance must not stay for ever.
        asked.is_ok() && i32::from(found.l_type) != libc::F_UNLCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memfd::{self, Reopener};
    use nix::fcntl::OFlag;

    #[test]
    fn a_mark_lasts_until_the_last_descriptor_is_closed() {
        let file = Rc::new(memfd::create(c"test").expect("memfd"));
        let reopener = Reopener::new().expect("procfs");
        let mark = Mark::new(file.clone(), BLANK + 7);
        assert!(!mark.is_held());
        for (flags, kind) in [(OFlag::O_RDONLY, libc::O_RDONLY), (OFlag::O_WRONLY, libc::O_WRONLY)] {
            let description = reopener.reopen(file.as_fd(), flags).expect("open");
            place(description.as_fd(), mark.position(), kind).expect("lock");
            assert!(mark.is_held());
            let duplicate = description.try_clone().expect("dup");
            drop(description);
            assert!(mark.is_held());
            drop(duplicate);
            assert!(!mark.is_held());
        }
    }

    #[test]
    fn two_writers_cannot_have_the_same_mark() {
        let file = memfd::create(c"test").expect("memfd");
        let reopener = Reopener::new().expect("procfs");
        let open = || reopener.reopen(file.as_fd(), OFlag::O_RDWR).expect("open");
        let (one, other) = (open(), open());
        place(one.as_fd(), 3, libc::O_RDWR).expect("lock");
        assert_eq!(place(other.as_fd(), 3, libc::O_RDWR), Err(Errno::EAGAIN));
    }
}
