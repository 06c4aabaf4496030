//! What a descriptor of a caller is: of a blank file, or not; and the mark of its open.

use super::procfs::Procfs;
use crate::kcov::mark;
use crate::sys::file::file_facts;
use crate::sys::{listener, pidfd, process};
use kcov_proto::message::{Blank, FileId, NotificationId};
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// Files that can be blank.
pub(super) struct BlankFiles {
    /// The placeholder.
    pub(super) placeholder: Option<FileId>,
    /// Device number of memfds, which arenas are.
    pub(super) memfd_device: u64,
}

/// A call that is being looked at.
pub(super) struct PendingCall<'a> {
    /// The listener.
    pub(super) listener: BorrowedFd<'a>,
    /// Its id.
    pub(super) id: NotificationId,
}

impl PendingCall<'_> {
    /// Whether its caller still waits.
    fn is_in_flight(&self) -> bool {
        listener::id_valid(self.listener, self.id) == Ok(true)
    }
}

impl BlankFiles {
    /// Looks at descriptor `fd` of `tid`; `None` if it is not of a blank file. With `initialise` the open is marked if it is
    /// not yet; the mark's position follows from the notification, so no two opens have the same.
    pub(super) fn look(
        &self,
        procfs: &Procfs,
        (tid, fd): (u32, i32),
        initialise: Option<&PendingCall<'_>>,
    ) -> Option<Blank> {
        let pidfd = process::pidfd_open(tid, true).ok()?;
        // From here on the description stays the same one, whatever the caller does with its descriptor.
        let description = pidfd::get_fd(pidfd.as_fd(), fd).ok()?;
        let file = file_facts(description.as_fd()).ok()?.id;
        let is_placeholder = self.placeholder == Some(file);
        if !is_placeholder && file.device != self.memfd_device {
            return None;
        }
        let text = procfs.own_fdinfo(description.as_fd()).ok()?;
        if !is_placeholder && is_description_of_the_broker(&text) {
            return None;
        }
        // The only flag of the descriptor itself.
        let theirs = flags(&procfs.read(tid, &format!("fdinfo/{fd}")).ok()?)?;
        let flags = flags(&text)? & !libc::O_CLOEXEC | theirs & libc::O_CLOEXEC;
        let found = marks(&text).find(|position| *position >= mark::BLANK);
        let position = found.or_else(|| {
            let call = initialise?;
            // Checked after the look, so the description is the caller's of this call. A call that has its answer may come
            // here late, and the descriptor may be of another open by then. With this call's mark, that open would be
            // taken for the one of this call.
            if !call.is_in_flight() {
                return None;
            }
            let position = mark::BLANK | call.id & (mark::BLANK - 1);
            match mark::place(description.as_fd(), position, flags) {
                Ok(()) => Some(position),
                // Access mode 3: other descriptors of the open are opens of their own.
                Err(Errno::EBADF) => None,
                Err(_) => None,
            }
        });
        Some(Blank { file, mark: position, flags })
    }
}

/// The line `flags:` of an fdinfo file: octal, with `O_CLOEXEC` (`seq_show` in `fs/proc/fd.c`).
fn flags(fdinfo: &str) -> Option<i32> {
    let octal = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
    i32::from_str_radix(octal, 8).ok()
}

/// Whether the broker made the description, of an arena: it has a lock of `flock(2)`.
fn is_description_of_the_broker(fdinfo: &str) -> bool {
    let mut locks = fdinfo.lines().filter_map(|line| line.strip_prefix("lock:"));
    locks.any(|lock| lock.split_ascii_whitespace().nth(1) == Some("FLOCK"))
}

/// Positions of the OFD locks on one byte, from lines such as
/// `lock: 1: OFDLCK ADVISORY  WRITE -1 00:3e:2 7 7` (`show_fd_locks` in `fs/locks.c`).
fn marks(fdinfo: &str) -> impl Iterator<Item = u64> {
    fdinfo.lines().filter_map(|line| {
        let words: Vec<&str> = line.strip_prefix("lock:")?.split_ascii_whitespace().collect();
        let [_, "OFDLCK", .., first, last] = words[..] else { return None };
        first.parse().ok().filter(|_| first == last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "pos:\t0\nflags:\t02100002\nmnt_id:\t30\nino:\t2\n\
        lock:\t1: OFDLCK ADVISORY  WRITE -1 00:3e:2 7 7\n\
        lock:\t2: OFDLCK ADVISORY  READ  -1 00:3e:2 4611686018427387913 4611686018427387913\n\
        lock:\t3: POSIX  ADVISORY  WRITE 12 00:3e:2 9 9\n\
        lock:\t4: OFDLCK ADVISORY  READ  -1 00:3e:2 0 EOF\n\
        lock:\t5: FLOCK  ADVISORY  WRITE 12 00:3e:2 0 EOF\n";

    #[test]
    fn flags_and_marks_are_read_from_fdinfo() {
        assert_eq!(flags(TEXT), Some(libc::O_RDWR | libc::O_CLOEXEC | 0o100_000));
        assert_eq!(marks(TEXT).collect::<Vec<_>>(), [7, mark::BLANK + 9]);
        assert!(is_description_of_the_broker(TEXT));
    }

    #[test]
    fn other_text_has_neither() {
        assert_eq!(flags("pos:\t0\n"), None);
        assert_eq!(marks("lock:\nlock:\t1: OFDLCK\n").count(), 0);
        assert!(!is_description_of_the_broker("lock:\t4: OFDLCK ADVISORY  READ  -1 00:3e:2 0 EOF\n"));
    }
}
