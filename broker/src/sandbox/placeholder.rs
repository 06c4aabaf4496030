//! Placeholders: files at the paths where a KCOV device would be.
//!
//! A file must exist there. Without it `stat`, `access`, directory listings and every unusual spelling of the
//! path would show a tenant that there is no device. [`install`] runs in the process that is about to become
//! the tenant. It gives the process its own mount namespace with an empty file at each of the device's paths.
//! Later mounts of the host appear in it; its mounts never appear on the host, and no file is created in the
//! host's devtmpfs.
//!
//! The broker recognises the open of a placeholder by its [`FileId`] and answers it; the file itself is never
//! opened.
//!
//! [`install_kallsyms`] adds a file of another kind, for tenants that ask for it: tenants do read that one.

mod device_directory;
mod kallsyms;
#[cfg(test)]
mod tests;

use crate::sys::file::{self, FileFacts, file_facts, file_facts_at};
use crate::sys::mount;
use kcov_proto::claims::{Claims, DeviceClaim};
use kcov_proto::message::FileId;
use kcov_sys::{StepError, step};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchownat};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use kallsyms::install_kallsyms;

/// Directory of the device in the kernel (`debugfs_create_file_unsafe` in `kernel/kcov.c`).
const DEBUG_DIRECTORY: &str = "/sys/kernel/debug";
/// Directory where some containers put a node for it.
const DEVICE_DIRECTORY: &str = "/dev";
/// Name of the device in both.
const NAME: &CStr = c"kcov";
/// Mode of the device: `kernel/kcov.c` registers it as 0600.
const MODE: Mode = Mode::from_bits_truncate(0o600);
/// Options of a file system that has only a placeholder.
const SMALL: &str = "mode=0755,size=64k,nr_inodes=16";

/// Result of [`install`].
#[derive(Debug, Default)]
pub struct Placeholders {
    /// The placeholders. If there is none, the notes say why.
    pub files: Vec<FileId>,
    /// Files of the handlers' devices, in the order of the claims.
    pub devices: Vec<FileId>,
    /// What was left out, and why, for the operator.
    pub notes: Vec<String>,
}

/// Why a private mount namespace, and so a placeholder, could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct PlaceholderError {
    /// The system call that failed.
    pub call: &'static str,
    /// Its error.
    pub errno: Errno,
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
    let debug = in_debug_directory();
    done.record("/sys/kernel/debug/kcov", debug);
    let devices: Vec<_> = claims.devices().collect();
    if devices.is_empty() {
        let device = in_device_directory(&mut done.notes);
        done.record("/dev/kcov", device);
    } else {
        let (device, placed) = beside_devices(&devices, &mut done.notes)
            .map_err(|StepError { step, errno }| PlaceholderError { call: step, errno })?;
        done.files.push(device);
        done.devices = placed;
    }
    if let Some((uid, gid)) = owner {
        done.give_to(uid, gid);
    }
    if let Some(directory) = directory {
        done.enter_again(directory);
    }
    Ok(done)
}

impl Placeholders {
    fn record(&mut self, place: &str, result: Result<FileId, StepError>) {
        match result {
            Ok(id) => self.files.push(id),
            Err(error) => self.notes.push(format!("no placeholder at {place}: {error}")),
        }
    }

    /// Gives the placeholders to a user. Leaves other files at their paths as they are.
    fn give_to(&mut self, uid: Uid, gid: Gid) {
        for directory in [DEBUG_DIRECTORY, DEVICE_DIRECTORY] {
            let Ok(directory) = open_directory(directory) else { continue };
            let is_ours = |facts: FileFacts| self.files.contains(&facts.id);
            if !file_facts_at(directory.as_fd(), NAME).is_ok_and(is_ours) {
                continue;
            }
            if let Err(errno) = fchownat(&directory, NAME, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            {
                self.notes.push(format!("a placeholder keeps its owner root: {errno}"));
            }
        }
    }

    /// Enters the working directory again by its path if it is below a covered directory: until then it is
    /// the covered one.
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

/// Mounts a small file system with a placeholder on the debug directory, or covers the real device if there
/// is one.
fn in_debug_directory() -> Result<FileId, StepError> {
    let directory = open_directory(DEBUG_DIRECTORY)?;
    if file_facts_at(directory.as_fd(), NAME).is_ok() {
        return cover(DEBUG_DIRECTORY, directory.as_fd());
    }
    mount_small(DEBUG_DIRECTORY)?;
    let directory = open_directory(DEBUG_DIRECTORY)?;
    let made = create(directory.as_fd())?;
    make_immutable(directory.as_fd());
    Ok(made)
}

/// Makes removing the placeholder fail with `EPERM`, also for root, as debugfs does.
fn make_immutable(directory: BorrowedFd<'_>) {
    // Fails for ordinary users and before Linux 6.6: then a tenant can remove its placeholder.
    let _ = openat(directory, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|directory| file::make_immutable(directory.as_fd()));
}

/// Covers an existing node, or mounts a new `/dev` with one more file.
fn in_device_directory(notes: &mut Vec<String>) -> Result<FileId, StepError> {
    let directory = open_directory(DEVICE_DIRECTORY)?;
    match file_facts_at(directory.as_fd(), NAME) {
        Ok(facts) if facts.is_symlink() => Err(step("it is a symbolic link, left as it is")(Errno::EEXIST)),
        Ok(_) => cover(DEVICE_DIRECTORY, directory.as_fd()),
        Err(_) => device_directory::replace(directory.as_fd(), &[], notes).map(|(device, _)| device),
    }
}

/// Mounts a new `/dev` with the placeholder and the files of the handlers' devices.
fn beside_devices(
    devices: &[&DeviceClaim],
    notes: &mut Vec<String>,
) -> Result<(FileId, Vec<FileId>), StepError> {
    let directory = open_directory(DEVICE_DIRECTORY)?;
    device_directory::replace(directory.as_fd(), devices, notes)
}

/// Binds a placeholder over the existing `NAME` in `directory`, whose path is `path`.
fn cover(path: &str, directory: BorrowedFd<'_>) -> Result<FileId, StepError> {
    cover_by(path, directory, NAME, create)
}

/// Has `create` make a file `name` in a new file system, and binds it over the existing `name` in
/// `directory`, whose path is `path`.
///
/// The new file system is mounted on `path` for a moment, because kernels before 6.15 clone only attached
/// mounts. Only this process has the namespace, so no other sees it.
fn cover_by<T>(
    path: &str,
    directory: BorrowedFd<'_>,
    name: &CStr,
    create: impl FnOnce(BorrowedFd<'_>) -> Result<T, StepError>,
) -> Result<T, StepError> {
    mount_small(path)?;
    let made = open_directory(path).and_then(|stage| {
        let made = create(stage.as_fd())?;
        let file = mount::clone_tree(stage.as_fd(), name, false).map_err(step("open_tree"))?;
        Ok((made, file))
    });
    umount2(path, MntFlags::MNT_DETACH).map_err(step("umount"))?;
    let (made, file) = made?;
    mount::attach(file.as_fd(), directory, name).map_err(step("move_mount"))?;
    Ok(made)
}

fn mount_small(path: &str) -> Result<(), StepError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("kcov"), path, Some("tmpfs"), flags, Some(SMALL)).map_err(step("mount(tmpfs)"))
}

/// Creates the placeholder in `directory`. The caller owns it: root, or the user of a rootless broker.
fn create(directory: BorrowedFd<'_>) -> Result<FileId, StepError> {
    create_named(directory, NAME, MODE)
}

fn create_named(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<FileId, StepError> {
    let file = new_file(directory, name, mode)?;
    file_facts(file.as_fd()).map(|facts| facts.id).map_err(step("statx"))
}

/// Creates a file of exactly this mode, open for writing.
fn new_file(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, mode).map_err(step("open(O_CREAT)"))?;
    // The umask has reduced the mode.
    fchmod(&file, mode).map_err(step("fchmod"))?;
    Ok(file)
}

fn open_directory(path: impl AsRef<Path>) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path.as_ref(), flags, Mode::empty()).map_err(step("open(O_DIRECTORY)"))
}
