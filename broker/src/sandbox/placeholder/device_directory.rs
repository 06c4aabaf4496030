//! A private `/dev` with the entries of the old one and a placeholder.
//!
//! Nodes and sockets are bind mounts from the old directory: that keeps their identity, which `ttyname`
//! compares, and needs no `mknod`, which is forbidden in a user namespace. `/dev/ptmx` is the exception: the
//! kernel looks for `pts` in its parent directory, which a bind mount of a single file lacks
//! (`devpts_acquire` in `fs/devpts/inode.c`).

use super::place::{DEVICE_DIRECTORY, NAME, create_named, open_directory};
use crate::sys::mount;
use kcov_proto::claims::DeviceClaim;
use kcov_proto::message::FileId;
use kcov_sys::{StepError, step};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, fstatat, makedev, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use nix::{fcntl::AtFlags, libc};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

/// Where the whole old directory is bound if a new `ptmx` cannot be made. Terminals opened there are those of
/// `/dev/pts`, but the kernel and `ttyname` report their paths as `/dev/.host/pts/N`.
const OLD: &CStr = c".host";
const PTMX: &CStr = c"ptmx";

/// Mode of a handler's device: every process of the tenant may open it.
const OPEN_TO_ALL: Mode = Mode::from_bits_truncate(0o666);

/// Mounts a new `/dev` over the old one, which `old` is a descriptor of. Binds the placeholder `file` in it, and makes a file
/// for each of `devices`, which replace old entries of that name. Returns the files, in the order of the devices. Entries
/// that cannot be had are noted; if the whole fails, the old `/dev` is back.
pub(super) fn replace(
    old: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    devices: &[&DeviceClaim],
    notes: &mut Vec<String>,
) -> Result<Vec<FileId>, StepError> {
    // Read and cloned before the new file system hides them: a later clone would have it on top.
    let names = names()?;
    let whole = mount::clone_tree(old, c"", true).map_err(step("open_tree"))?;
    let mode = fstatat(old, c"", AtFlags::AT_EMPTY_PATH).map_err(step("fstat"))?.st_mode & 0o7777;
    let options = format!("mode={mode:o},size=4m");
    nix::mount::mount(Some("dev"), DEVICE_DIRECTORY, Some("tmpfs"), MsFlags::MS_NOSUID, Some(&*options))
        .map_err(step("mount(tmpfs)"))?;
    let filled = open_directory(DEVICE_DIRECTORY).and_then(|new| {
        let new = Populate { old, whole, new };
        let covered = |name: &&CString| {
            let is =
                |device: &&DeviceClaim| device.names() == Some((None, name.to_str().unwrap_or_default()));
            name.as_c_str() != NAME && !devices.iter().any(is)
        };
        for name in names.iter().filter(covered) {
            if let Err(error) = new.entry(name) {
                notes.push(format!("/dev/{} is left out: {error}", name.to_string_lossy()));
            }
        }
        new.mount_point(NAME)?;
        mount::attach(file, new.new.as_fd(), NAME).map_err(step("move_mount"))?;
        devices.iter().map(|device| new.device(device)).collect::<Result<_, _>>()
    });
    if filled.is_err() {
        umount2(DEVICE_DIRECTORY, MntFlags::MNT_DETACH).map_err(step("umount"))?;
    }
    filled
}

fn names() -> Result<Vec<CString>, StepError> {
    let failed = |error: std::io::Error| step("readdir")(Errno::from_raw(error.raw_os_error().unwrap_or(0)));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(DEVICE_DIRECTORY).map_err(failed)? {
        // A name that the kernel lists has no NUL.
        names.extend(CString::new(entry.map_err(failed)?.file_name().into_vec()));
    }
    Ok(names)
}

/// The old directory and the new one that replaces it.
struct Populate<'a> {
    old: BorrowedFd<'a>,
    /// A clone of the old directory with all of its mounts, for [`OLD`].
    whole: OwnedFd,
    new: OwnedFd,
}

impl Populate<'_> {
    /// Makes the file of a handler's device. Refuses a directory that the old `/dev` has: it is the host's.
    fn device(&self, device: &DeviceClaim) -> Result<FileId, StepError> {
        let text = |name: &str| CString::new(name).map_err(|_| step("naming a device")(Errno::EINVAL));
        match device.names() {
            None => Err(step("naming a device")(Errno::EINVAL)),
            Some((None, name)) => create_named(self.new.as_fd(), &text(name)?, OPEN_TO_ALL),
            Some((Some(directory), name)) => {
                let directory = text(directory)?;
                if fstatat(self.old, directory.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
                    return Err(step("a handler's device in a directory of /dev that the machine has")(
                        Errno::EEXIST,
                    ));
                }
                let mode = Mode::from_bits_truncate(0o755);
                match mkdirat(&self.new, directory.as_c_str(), mode) {
                    Ok(()) | Err(Errno::EEXIST) => {}
                    Err(errno) => return Err(step("mkdir")(errno)),
                }
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let inside =
                    openat(&self.new, directory.as_c_str(), flags, Mode::empty()).map_err(step("open"))?;
                create_named(inside.as_fd(), &text(name)?, OPEN_TO_ALL)
            }
        }
    }

    fn entry(&self, name: &CStr) -> Result<(), StepError> {
        let stat = fstatat(self.old, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(step("stat"))?;
        let kind = SFlag::from_bits_truncate(stat.st_mode & libc::S_IFMT);
        match kind {
            SFlag::S_IFLNK => self.link(name)?,
            SFlag::S_IFDIR => return self.directory(name),
            SFlag::S_IFCHR if name == PTMX && stat.st_rdev == makedev(5, 2) => return self.ptmx(&stat),
            _ => return self.file(name),
        }
        self.own(name, &stat);
        Ok(())
    }

    fn link(&self, name: &CStr) -> Result<(), StepError> {
        let target = readlinkat(self.old, name).map_err(step("readlink"))?;
        symlinkat(target.as_os_str(), &self.new, name).map_err(step("symlink"))
    }

    /// Binds a directory with the mounts in it.
    fn directory(&self, name: &CStr) -> Result<(), StepError> {
        mkdirat(&self.new, name, Mode::S_IRWXU).map_err(step("mkdir"))?;
        self.bind(name, name, true).inspect_err(|_| self.remove(name, UnlinkatFlags::RemoveDir))
    }

    /// An empty file, to mount on.
    fn mount_point(&self, name: &CStr) -> Result<(), StepError> {
        mknodat(&self.new, name, SFlag::S_IFREG, Mode::empty(), 0).map_err(step("mknod"))
    }

    /// A node, socket, fifo or file.
    fn file(&self, name: &CStr) -> Result<(), StepError> {
        self.mount_point(name)?;
        self.bind(name, name, false).inspect_err(|_| self.remove(name, UnlinkatFlags::NoRemoveDir))
    }

    /// Removes the mount point of an entry that could not be bound.
    fn remove(&self, name: &CStr, kind: UnlinkatFlags) {
        // If this fails, an empty file or directory of mode 0 or 0700 remains.
        let _ = unlinkat(&self.new, name, kind);
    }

    fn bind(&self, from: &CStr, to: &CStr, recursive: bool) -> Result<(), StepError> {
        let tree = mount::clone_tree(self.old, from, recursive).map_err(step("open_tree"))?;
        mount::attach(tree.as_fd(), self.new.as_fd(), to).map_err(step("move_mount"))
    }

    /// Makes a new node, or, where that is forbidden, a link to the old one, which has its `pts` in the same
    /// directory.
    fn ptmx(&self, stat: &libc::stat) -> Result<(), StepError> {
        let mode = Mode::from_bits_truncate(stat.st_mode);
        match mknodat(&self.new, PTMX, SFlag::S_IFCHR, mode, stat.st_rdev) {
            Ok(()) => {
                self.own(PTMX, stat);
                // The umask has reduced the mode.
                fchmodat(&self.new, PTMX, mode, FchmodatFlags::FollowSymlink).map_err(step("chmod"))
            }
            Err(_) => {
                mkdirat(&self.new, OLD, Mode::S_IRWXU).map_err(step("mkdir"))?;
                mount::attach(self.whole.as_fd(), self.new.as_fd(), OLD).map_err(step("move_mount"))?;
                symlinkat(c".host/ptmx", &self.new, PTMX).map_err(step("symlink"))
            }
        }
    }

    /// Keeps the owner. In a user namespace that does not map it, the caller is the owner.
    fn own(&self, name: &CStr, stat: &libc::stat) {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        let _ = fchownat(&self.new, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW);
    }
}
