//! The file that stands where a KCOV device would be.
//!
//! A path that leads to the device must lead to *something*, or `stat`, `access`, directory listings and every unusual
//! spelling of the path would show a tenant that there is no device. [`install`] runs in the process that is about to
//! become the tenant. It makes a mount namespace with one empty file, which is bound at both places of the device. Mounts of
//! the host still arrive there; nothing that is mounted here reaches the host, and no file is made in the host's devtmpfs.
//!
//! An open of the file succeeds, as that of the device does. Its descriptors are recognised by the file's [`FileId`] at
//! their first KCOV request.
//!
//! [`install_kallsyms`] adds a file of another kind, which is read.

mod device_directory;
mod kallsyms;
mod place;
mod store;
#[cfg(test)]
mod tests;

use crate::sys::file::{self, file_facts_at};
use crate::sys::mount;
use kcov_proto::claims::{Claims, DeviceClaim};
use kcov_proto::message::FileId;
use kcov_sys::{StepError, step};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};
use place::{DEBUG_DIRECTORY, DEVICE_DIRECTORY, NAME, open_directory};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use store::Store;

pub use kallsyms::{install_kallsyms, keep_proc_mountable};
pub use place::PlaceholderError;

/// Result of [`install`].
#[derive(Debug, Default)]
pub struct Placeholders {
    /// Places of the device where the placeholder is: 2, or fewer if the notes say why.
    pub places: usize,
    /// The placeholder.
    pub file: Option<FileId>,
    /// A description of it, to look for its locks.
    pub description: Option<OwnedFd>,
    /// Files of the handlers' devices, by their number.
    pub devices: Vec<FileId>,
    /// What was left out, and why, for the operator.
    pub notes: Vec<String>,
}

/// Moves this process to its own mount namespace with placeholders. To be called in the single-threaded child
/// that becomes the tenant, before exec, with `CAP_SYS_ADMIN` in its user namespace.
///
/// # Errors
/// If the namespace cannot be made; failures after that are [`Placeholders::notes`].
pub fn install() -> Result<Placeholders, PlaceholderError> {
    install_for(&Claims::default(), None)
}

/// As [`install`], with a file for each device of the handlers. The KCOV placeholders belong to `owner`, or
/// to the caller if that is `None`: their mode is 0600, so only the owner may open them.
///
/// # Errors
/// Also if the file of a handler's device cannot be made: a command that is run for the handler needs it.
pub fn install_for(claims: &Claims, owner: Option<(Uid, Gid)>) -> Result<Placeholders, PlaceholderError> {
    let directory = std::env::current_dir().ok();
    let failed = |call| move |errno| PlaceholderError { call, errno };
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("unshare(CLONE_NEWNS)"))?;
    nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SLAVE | MsFlags::MS_REC, None::<&str>)
        .map_err(failed("mount(MS_SLAVE)"))?;

    let mut done = Placeholders::default();
    let store =
        Store::new(owner).map_err(|StepError { step, errno }| PlaceholderError { call: step, errno })?;
    let devices: Vec<_> = claims.devices().collect();
    done.note("/sys/kernel/debug/kcov", in_debug_directory(&store));
    match in_device_directory(&store, &devices, &mut done.notes) {
        Ok(placed) => {
            done.places += 1;
            done.devices = placed;
        }
        Err(error) if devices.is_empty() => done.note("/dev/kcov", Err(error)),
        Err(StepError { step, errno }) => return Err(PlaceholderError { call: step, errno }),
    }
    done.file = Some(store.id);
    done.description = Some(store.description);
    if let Some(directory) = directory {
        done.enter_again(directory);
    }
    Ok(done)
}

impl Placeholders {
    fn note(&mut self, place: &str, result: Result<(), StepError>) {
        match result {
            Ok(()) => self.places += 1,
            Err(error) => self.notes.push(format!("no placeholder at {place}: {error}")),
        }
    }

    /// Enters a working directory again that is below a covered place: until then it is the covered directory.
    fn enter_again(&mut self, directory: PathBuf) {
        if ![DEBUG_DIRECTORY, DEVICE_DIRECTORY].iter().any(|covered| directory.starts_with(covered)) {
            return;
        }
        if let Err(errno) = nix::unistd::chdir(&directory) {
            self.notes
                .push(format!("the working directory is still the covered {}: {errno}", directory.display()));
        }
    }
}

/// The placeholder's directory on the debug directory; or its file over a real device there.
fn in_debug_directory(store: &Store) -> Result<(), StepError> {
    let directory = open_directory(DEBUG_DIRECTORY)?;
    if file_facts_at(directory.as_fd(), NAME).is_ok() {
        return mount::attach(store.file.as_fd(), directory.as_fd(), NAME).map_err(step("move_mount"));
    }
    mount::attach(store.directory.as_fd(), directory.as_fd(), c"").map_err(step("move_mount"))?;
    keep_names(open_directory(DEBUG_DIRECTORY)?.as_fd());
    Ok(())
}

/// A program that removes what it finds, as root, must not lose the device by that: debugfs answers `EPERM` too.
fn keep_names(directory: BorrowedFd<'_>) {
    // Without effect for an ordinary user's tenant, and before Linux 6.6.
    let _ = openat(directory, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|directory| file::make_immutable(directory.as_fd()));
}

/// The placeholder over a node that is there, or in a new `/dev`; with the handlers' devices always the second.
fn in_device_directory(
    store: &Store,
    devices: &[&DeviceClaim],
    notes: &mut Vec<String>,
) -> Result<Vec<FileId>, StepError> {
    let directory = open_directory(DEVICE_DIRECTORY)?;
    let file = store.device.as_fd();
    if devices.is_empty()
        && let Ok(facts) = file_facts_at(directory.as_fd(), NAME)
    {
        if facts.is_symlink() {
            return Err(step("it is a symbolic link, left as it is")(Errno::EEXIST));
        }
        mount::attach(file, directory.as_fd(), NAME).map_err(step("move_mount"))?;
        return Ok(Vec::new());
    }
    device_directory::replace(directory.as_fd(), file, devices, notes)
}
