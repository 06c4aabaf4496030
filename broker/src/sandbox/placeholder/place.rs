//! The places of the device, and how files are made that cover what is there.

use crate::sys::file::file_facts;
use crate::sys::mount;
use kcov_proto::message::FileId;
use kcov_sys::{StepError, step};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, fchmod};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Directory of the device in the kernel (`debugfs_create_file_unsafe` in `kernel/kcov.c`).
pub(super) const DEBUG_DIRECTORY: &str = "/sys/kernel/debug";
/// Directory where some containers put a node for it.
pub(super) const DEVICE_DIRECTORY: &str = "/dev";
/// Name of the device in both.
pub(super) const NAME: &CStr = c"kcov";
/// Mode of the device: `kernel/kcov.c` registers it as 0600.
pub(super) const MODE: Mode = Mode::from_bits_truncate(0o600);
/// Options of a file system for one file.
const SMALL: &str = "mode=0755,size=64k,nr_inodes=16";

/// Why a private mount namespace, and so a placeholder, could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct PlaceholderError {
    /// The system call that failed.
    pub call: &'static str,
    /// Its error.
    pub errno: Errno,
}

/// Has `create` make a file `name` in a new file system, and binds it over the existing `name` in
/// `directory`, whose path is `path`.
///
/// The new file system is mounted on `path` for a moment, because kernels before 6.15 clone only attached
/// mounts. Only this process has the namespace, so no other sees it.
pub(super) fn cover_by<T>(
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

pub(super) fn create_named(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<FileId, StepError> {
    let file = new_file(directory, name, mode)?;
    file_facts(file.as_fd()).map(|facts| facts.id).map_err(step("statx"))
}

/// Creates a file of exactly this mode, open for writing.
pub(super) fn new_file(directory: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, mode).map_err(step("open(O_CREAT)"))?;
    // The umask has reduced the mode.
    fchmod(&file, mode).map_err(step("fchmod"))?;
    Ok(file)
}

pub(super) fn open_directory(path: impl AsRef<Path>) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path.as_ref(), flags, Mode::empty()).map_err(step("open(O_DIRECTORY)"))
}
