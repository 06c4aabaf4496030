//! The empty root of a zygote and its workers.
//!
//! Handlers are loaded by a process that has no rights any more and still sees files, as libraries need libraries.
//! Taking the files away afterwards needs a right again. So a child stays behind that keeps this right and nothing
//! else, in the same mount namespace, and waits for one word. `pivot_root` moves every process of the namespace
//! whose root was the old one (`chroot_fs_refs`, fs/fs_struct.c, Linux 6.12), and so the zygote, which looks itself
//! whether it is so.
//!
//! The other ways are worse. A swap before loading leaves nothing to load from. A user namespace for the zygote of a
//! broker that runs as root would hand all capabilities over it to the code that is loaded, and many machines forbid it.
//! `chroot` leaves the mounts in the namespace.

use super::namespaces::denied;
use super::{JailError, step};
use crate::sys::fork;
use crate::sys::jail as sys;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, pipe2, pivot_root};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A directory that is there wherever a broker runs, to mount the new root on until it is the root.
const PLACE: &str = "/proc";
/// Nobody writes to it, and it has room for nothing but itself.
const OPTIONS: &str = "mode=555,nr_inodes=1,size=4k";

/// The child that keeps the right to swap the root. It ends with the zygote.
#[derive(Debug)]
pub struct Keeper {
    child: Pid,
    word: OwnedFd,
}

impl Keeper {
    /// Forks it. The calling process has one thread.
    ///
    /// # Errors
    /// [`JailError::Step`].
    pub fn fork() -> Result<Self, JailError> {
        let zygote = Pid::this();
        let (theirs, word) = pipe2(OFlag::O_CLOEXEC).map_err(step("pipe2"))?;
        let child = fork::child(|| keep(&theirs, zygote)).map_err(step("fork"))?;
        Ok(Keeper { child, word })
    }

    /// The descriptor by which it hears the word.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.word.as_fd()
    }

    /// Has the root swapped, and waits until it is.
    ///
    /// # Errors
    /// [`JailError::Namespace`] with what the kernel said to the child; [`JailError::Root`] if this process still sees files.
    pub fn swap(self) -> Result<(), JailError> {
        const SWAP: &str = "an empty root (mount of a tmpfs, pivot_root)";
        nix::unistd::write(&self.word, b"!").map_err(step(SWAP))?;
        match waitpid(self.child, None).map_err(step("waitpid"))? {
            WaitStatus::Exited(_, 0) => {}
            WaitStatus::Exited(_, errno) => return Err(denied(SWAP)(Errno::from_raw(errno))),
            _ => return Err(step(SWAP)(Errno::ESRCH)),
        }
        // A library may have gone elsewhere, where nothing took this process back from.
        chdir("/").map_err(step("chdir"))?;
        match std::fs::read_dir("/").is_ok_and(|mut entries| entries.next().is_none()) {
            true => Ok(()),
            false => Err(JailError::Root),
        }
    }
}

/// Waits for the word and swaps the root. Returns 0 or an errno, as the exit status.
fn keep(word: &OwnedFd, zygote: Pid) -> i32 {
    let mut byte = [0];
    let ready = sys::close_others(&[word.as_raw_fd()])
        .and_then(|()| sys::set_capabilities(1 << sys::CAP_SYS_ADMIN))
        .and_then(|()| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL))
        .and_then(|()| if nix::unistd::getppid() == zygote { Ok(()) } else { Err(Errno::ESRCH) })
        .and_then(|()| nix::unistd::read(word, &mut byte));
    match ready {
        Ok(1) => empty().map_or_else(|errno| errno as i32, |()| 0),
        // The zygote is gone.
        Ok(_) => 0,
        Err(errno) => errno as i32,
    }
}

/// Makes an empty directory the root of this mount namespace, and the only mount in it.
fn empty() -> Result<(), Errno> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("kcov-jail"), PLACE, Some("tmpfs"), flags, Some(OPTIONS))?;
    chdir(PLACE)?;
    // The old root lies above the new one then, at the same place: pivot_root(2).
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)
}
