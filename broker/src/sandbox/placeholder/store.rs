//! The file system of the placeholder, in which nothing can be stored.
//!
//! A tmpfs of one block, which another file fills, and of no more inodes than are in use: a write to the placeholder finds
//! no space, and so does an extended attribute, which counts as an inode (`simple_xattr_add`, Linux 6.6). The other file is
//! outside of the directory that is mounted.

use super::place::{DEVICE_DIRECTORY, MODE, NAME, new_file, open_directory};
use crate::sys::file::file_facts;
use crate::sys::mount;
use kcov_proto::message::FileId;
use kcov_sys::{StepError, step};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, SysconfVar, Uid, fchown, sysconf};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

/// One block; inodes for the root, the directory, the placeholder and the file that fills the block.
const OPTIONS: &str = "mode=0755,size=1,nr_inodes=4";
/// The directory that is mounted.
const DIRECTORY: &std::ffi::CStr = c"device";
/// The file that fills the block.
const FILLER: &std::ffi::CStr = c"full";

/// Detached mounts of the placeholder, each to be attached once, and what identifies it.
pub(super) struct Store {
    /// The directory with the placeholder and nothing else.
    pub(super) directory: OwnedFd,
    /// The placeholder, for the debug directory.
    pub(super) file: OwnedFd,
    /// The placeholder, for `/dev`.
    pub(super) device: OwnedFd,
    /// Its identity.
    pub(super) id: FileId,
    /// A description of it, read-only.
    pub(super) description: OwnedFd,
}

impl Store {
    /// Makes the file system. The placeholder belongs to `owner` if there is one, and else to the caller: a file of mode
    /// 0600 can be opened by its owner.
    ///
    /// It is attached to `/dev` for a moment, because kernels before 6.15 clone attached mounts only. The mount namespace is
    /// this process's own, so no other process sees that.
    pub(super) fn new(owner: Option<(Uid, Gid)>) -> Result<Self, StepError> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        nix::mount::mount(Some("kcov"), DEVICE_DIRECTORY, Some("tmpfs"), flags, Some(OPTIONS))
            .map_err(step("mount(tmpfs)"))?;
        let made = Self::fill(owner);
        umount2(DEVICE_DIRECTORY, MntFlags::MNT_DETACH).map_err(step("umount"))?;
        made
    }

    fn fill(owner: Option<(Uid, Gid)>) -> Result<Self, StepError> {
        let stage = open_directory(DEVICE_DIRECTORY)?;
        mkdirat(&stage, DIRECTORY, Mode::from_bits_truncate(0o755)).map_err(step("mkdir"))?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let inside = openat(&stage, DIRECTORY, flags, Mode::empty()).map_err(step("open"))?;
        let placeholder = new_file(inside.as_fd(), NAME, MODE)?;
        if let Some((uid, gid)) = owner {
            fchown(&placeholder, Some(uid), Some(gid)).map_err(step("fchown"))?;
        }
        let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096);
        let written = File::from(new_file(stage.as_fd(), FILLER, Mode::empty())?)
            .write_all(&vec![0; usize::try_from(page).unwrap_or(4096)]);
        written.map_err(|error| step("write")(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
        let clone = |name| mount::clone_tree(inside.as_fd(), name, false).map_err(step("open_tree"));
        Ok(Store {
            directory: clone(c"")?,
            file: clone(NAME)?,
            device: clone(NAME)?,
            id: file_facts(placeholder.as_fd()).map_err(step("statx"))?.id,
            description: openat(&inside, NAME, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
                .map_err(step("open"))?,
        })
    }
}
