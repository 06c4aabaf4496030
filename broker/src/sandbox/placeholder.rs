//! Files that stand where a KCOV device would be.
//!
//! A path that leads to the device must lead to *something*, or `stat`, `access`, directory listings and every
//! unusual spelling of the path would tell a tenant that there is none. [`install`] runs in the process that is
//! about to become the tenant and gives it a mount namespace of its own with an empty file at each of the
//! device's places. Mounts of the host still arrive in it; nothing that is mounted here reaches the host, and
//! no file is made in the host's devtmpfs.
//!
//! An open of such a file is recognised by its [`FileId`]; it never reaches the file.
//!
//! [`install_kallsyms`] adds a file of another kind, for tenants that ask for it: one that is read.

mod device_directory;
mod kallsyms;
#[cfg(test)]
mod tests;

use crate::sys::{inode_flags, mount, process};
use kcov_proto::claims::{Claims, DeviceClaim};
use kcov_proto::message::FileId;
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

/// Directory of the device's usual place (`debugfs_create_file_unsafe` in `kernel/kcov.c`).
const DEBUG_DIRECTORY: &str = "/sys/kernel/debug";
/// Where some containers put a node for it.
const DEVICE_DIRECTORY: &str = "/dev";
/// Name of the device in both.
const NAME: &CStr = c"kcov";
/// Mode of the device: `kernel/kcov.c` registers it as 0600.
const MODE: Mode = Mode::from_bits_truncate(0o600);
/// Options of the file system that holds a placeholder and nothing else.
const SMALL: &str = "mode=0755,size=64k,nr_inodes=16";

/// What [`install`] achieved.
#[derive(Debug, Default)]
pub struct Placeholders {
    /// The placeholders, at least one unless the notes say why not.
    pub files: Vec<FileId>,
    /// Files of the handlers' devices, by their number.
    pub devices: Vec<FileId>,
    /// What was left out, and why: for the operator.
    pub notes: Vec<String>,
}

/// Why there is no private mount namespace, hence no placeholder.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct PlaceholderError {
    /// The system call that failed.
    pub call: &'static str,
    /// What it said.
    pub errno: Errno,
}

/// A step that failed; it costs one placeholder or one entry of `/dev`.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {errno}")]
struct StepError {
    step: &'static str,
    errno: Errno,
}

/// Names the step that an errno comes from.
fn step(step: &'static str) -> impl Fn(Errno) -> StepError {
    move |errno| StepError { step, errno }
}

/// Gives this process a mount namespace with placeholders. To be called in the single-threaded child that
/// becomes the tenant, before exec, with `CAP_SYS_ADMIN` in its user namespace.
///
/// # Errors
/// If the namespace cannot be had; failures after that are [`Placeholders::notes`].
pub fn install() -> Result<Placeholders, PlaceholderError> {
    install_for(&Claims::default(), None)
}

/// As [`install`], with a file for each device of the handlers. The device's own belong to `owner` if there is one, and
/// else to the caller: who owns a file of mode 0600 is who may open it.
///
/// # Errors
/// Also if a handler's device cannot be placed: who runs a command for it wants it there.
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

    /// Gives the placeholders to a user, and nothing else that may stand in their places.
    fn give_to(&mut self, uid: Uid, gid: Gid) {
        for directory in [DEBUG_DIRECTORY, DEVICE_DIRECTORY] {
            let Ok(directory) = open_directory(directory) else { continue };
            let is_ours = |facts: process::FileFacts| self.files.contains(&facts.id);
            if !process::file_facts_at(directory.as_fd(), NAME).is_ok_and(is_ours) {
                continue;
            }
            if let Err(errno) = fchownat(&directory, NAME, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            {
                self.notes.push(format!("a placeholder stays root's: {errno}"));
            }
        }
    }

    /// A working directory below a covered place is the covered one until it is entered by name again.
    fn enter_again(&mut self, directory: PathBuf) {
        if ![DEBUG_DIRECTORY, DEVICE_DIRECTORY].iter().any(|covered| directory.starts_with(covered)) {
            return;
        }
        if let Err(errno) = nix::unistd::chdir(&directory) {
            self.notes.push(format!("working directory stays below {}: {errno}", directory.display()));
        }
    }
}

/// A small file system on the debug directory, or, where a real device is, a file over just that.
fn in_debug_directory() -> Result<FileId, StepError> {
    let directory = open_directory(DEBUG_DIRECTORY)?;
    if process::file_facts_at(directory.as_fd(), NAME).is_ok() {
        return cover(DEBUG_DIRECTORY, directory.as_fd());
    }
    mount_small(DEBUG_DIRECTORY)?;
    let directory = open_directory(DEBUG_DIRECTORY)?;
    let made = create(directory.as_fd())?;
    keep_names(directory.as_fd());
    Ok(made)
}

/// A program that removes what it finds, as root, does not lose the device by that: debugfs says `EPERM` too.
fn keep_names(directory: BorrowedFd<'_>) {
    // An ordinary user's tenant, or one of a kernel before 6.6, has to leave it alone.
    let _ = openat(directory, c".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .and_then(|directory| inode_flags::keep_names(directory.as_fd()));
}

/// A file over a node that is there, or a new `/dev` with one more file.
fn in_device_directory(notes: &mut Vec<String>) -> Result<FileId, StepError> {
    let directory = open_directory(DEVICE_DIRECTORY)?;
    match process::file_facts_at(directory.as_fd(), NAME) {
        Ok(facts) if facts.is_symlink() => Err(step("it is a symbolic link, left as it is")(Errno::EEXIST)),
        Ok(_) => cover(DEVICE_DIRECTORY, directory.as_fd()),
        Err(_) => device_directory::replace(directory.as_fd(), &[], notes).map(|(device, _)| device),
    }
}

/// A new `/dev` with the placeholder and the handlers' devices.
fn beside_devices(
    devices: &[&DeviceClaim],
    notes: &mut Vec<String>,
) -> Result<(FileId, Vec<FileId>), StepError> {
    let directory = open_directory(DEVICE_DIRECTORY)?;
    device_directory::replace(directory.as_fd(), devices, notes)
}

/// Binds a placeholder over the existing `NAME` in `directory`, which is at `path`.
fn cover(path: &str, directory: BorrowedFd<'_>) -> Result<FileId, StepError> {
    cover_by(path, directory, NAME, create)
}

/// Binds what `create` makes under `name`, in a file system of its own, over the existing `name` in `directory`,
/// which is at `path`.
///
/// The new file system is attached there for a moment, because kernels before 6.15 clone attached mounts only;
/// the namespace is this process's own, so nobody sees it.
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

/// Makes the placeholder in `directory`. Its owner is the caller: root, or who runs a rootless broker.
fn create(directory: BorrowedFd<'_>) -> Result<FileId, StepError> {
    create_named(directory, NAME, MODE)
}

fn create_named(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<FileId, StepError> {
    let file = new_file(directory, name, mode)?;
    process::file_facts(file.as_fd()).map(|facts| facts.id).map_err(step("statx"))
}

/// A new file, open for writing, of exactly this mode.
fn new_file(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, mode).map_err(step("open(O_CREAT)"))?;
    // The umask has cut the mode of open.
    fchmod(&file, mode).map_err(step("fchmod"))?;
    Ok(file)
}

fn open_directory(path: impl AsRef<Path>) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path.as_ref(), flags, Mode::empty()).map_err(step("open(O_DIRECTORY)"))
}
