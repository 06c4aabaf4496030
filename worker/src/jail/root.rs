//! The empty root of a zygote and its workers.
//!
//! Handlers are loaded by a process that has no rights any more but can still open files, as libraries load
//! libraries. To remove the files afterwards needs a capability. So the zygote forks a child before it drops
//! its capabilities: the keeper, which keeps this capability only, stays in the same mount namespace, and
//! waits for one message. `pivot_root` moves every process of the namespace whose root was the old one
//! (`chroot_fs_refs`, fs/fs_struct.c, Linux 6.12), and so the zygote, which checks that its root is empty.
//!
//! The alternatives are worse. After a swap before loading there is nothing to load from. In a user
//! namespace, the loaded code would have all capabilities over it, and many machines forbid user namespaces
//! to root's services. `chroot` leaves the mounts in the namespace.

use super::error::{JailError, step};
use super::namespaces::denied;
use crate::sys::fork;
use kcov_sys::{descriptors, privilege};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, chdir, pipe2, pivot_root};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Directory on which the new root is mounted before the swap. It exists wherever a broker runs.
const PLACE: &str = "/proc";
/// Options of the new root: not writable, and with no room for files.
const OPTIONS: &str = "mode=555,nr_inodes=1,size=4k";

/// The child that keeps the capability to swap the root. It ends with the zygote.
#[derive(Debug)]
pub struct Keeper {
    child: Pid,
    trigger: OwnedFd,
}

impl Keeper {
    /// Forks the keeper. The calling process has one thread.
    ///
    /// # Errors
    /// [`JailError::Step`].
    pub fn fork() -> Result<Self, JailError> {
        let zygote = Pid::this();
        let (theirs, trigger) = pipe2(OFlag::O_CLOEXEC).map_err(step("pipe2"))?;
        let child = fork::child(|| keep(&theirs, zygote)).map_err(step("fork"))?;
        Ok(Keeper { child, trigger })
    }

    /// Returns the descriptor that triggers the swap.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.trigger.as_fd()
    }

    /// Triggers the swap of the root and waits for it.
    ///
    /// # Errors
    /// [`JailError::Namespace`] with the error of the keeper; [`JailError::Root`] if this process still sees
    /// files.
    pub fn swap(self) -> Result<(), JailError> {
        const SWAP: &str = "an empty root (mount of a tmpfs, pivot_root)";
        nix::unistd::write(&self.trigger, b"!").map_err(step(SWAP))?;
        match waitpid(self.child, None).map_err(step("waitpid"))? {
            WaitStatus::Exited(_, 0) => {}
            WaitStatus::Exited(_, errno) => return Err(denied(SWAP)(Errno::from_raw(errno))),
            _ => return Err(step(SWAP)(Errno::ESRCH)),
        }
        // A library may have changed the working directory: the swap moves only those that were the old root.
        chdir("/").map_err(step("chdir"))?;
        match std::fs::read_dir("/").is_ok_and(|mut entries| entries.next().is_none()) {
            true => Ok(()),
            false => Err(JailError::Root),
        }
    }
}

/// Waits for the trigger and swaps the root. Returns the exit status: 0 or an errno.
fn keep(trigger: &OwnedFd, zygote: Pid) -> i32 {
    let mut byte = [0];
    let ready = descriptors::close_others(&[trigger.as_raw_fd()])
        .and_then(|()| privilege::set_capabilities(privilege::SYS_ADMIN))
        .and_then(|()| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL))
        .and_then(|()| if nix::unistd::getppid() == zygote { Ok(()) } else { Err(Errno::ESRCH) })
        .and_then(|()| nix::unistd::read(trigger, &mut byte));
    match ready {
        Ok(1) => empty().map_or_else(|errno| errno as i32, |()| 0),
        // The zygote is gone.
        Ok(_) => 0,
        Err(errno) => errno as i32,
    }
}

/// Makes an empty file system the root of this mount namespace, and its only mount.
fn empty() -> Result<(), Errno> {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("kcov-jail"), PLACE, Some("tmpfs"), flags, Some(OPTIONS))?;
    chdir(PLACE)?;
    // The old root is then mounted over the new one: pivot_root(2).
    pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)
}
