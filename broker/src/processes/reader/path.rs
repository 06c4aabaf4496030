//! To which file a path leads, as the thread that names it would find.
//!
//! Most paths are resolved by the kernel in one step, in the caller's root. That is right only where the way
//! does not depend on *who* walks it: `/proc/self`, `/proc/thread-self` and the magic links behind them do, and
//! they can be reached through any symbolic link. So the kernel is first asked to pass no symbolic link; then,
//! if the way has one, to stay on one mount that is not procfs; what is left is walked step by step ([`walk`]).
//!
//! Search permission is not judged here: the reader may search every directory.

use super::procfs::Procfs;
use super::walk::{self, Node};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// A path, and how its system call wants it resolved.
pub(super) struct Lookup<'a> {
    /// Descriptor that a relative path starts at, or `AT_FDCWD`.
    pub(super) dirfd: i32,
    /// The path.
    pub(super) path: &'a CStr,
    /// Whether a symbolic link at the end is followed.
    pub(super) follow: bool,
    /// `RESOLVE_*` as the caller gave them.
    pub(super) resolve: u64,
}

/// Where the walk may go (`openat2(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Up to the caller's root.
    Free,
    /// Below the start, and an error for leaving it.
    Beneath,
    /// Below the start, as if it were the root.
    InRoot,
}

/// The caller's `RESOLVE_*`, checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) scope: Scope,
    pub(super) symlinks: bool,
    pub(super) magic_links: bool,
    pub(super) cross_mounts: bool,
    pub(super) follow: bool,
}

impl Rules {
    /// Bits that do not change where a path leads (`RESOLVE_CACHED`) are left out.
    fn check(lookup: &Lookup<'_>) -> Result<Self, Errno> {
        let has = |flag: u64| lookup.resolve & flag != 0;
        let scope = match (has(libc::RESOLVE_BENEATH), has(libc::RESOLVE_IN_ROOT)) {
            (false, false) => Scope::Free,
            (true, false) => Scope::Beneath,
            (false, true) => Scope::InRoot,
            (true, true) => return Err(Errno::EINVAL),
        };
        Ok(Rules {
            scope,
            symlinks: !has(libc::RESOLVE_NO_SYMLINKS),
            magic_links: !has(libc::RESOLVE_NO_MAGICLINKS) && !has(libc::RESOLVE_NO_SYMLINKS),
            cross_mounts: !has(libc::RESOLVE_NO_XDEV),
            follow: lookup.follow,
        })
    }
}

/// The file that thread `tid` would reach.
///
/// # Errors
/// As the look-up of the path would fail for a caller that may search every directory.
pub(super) fn resolve(procfs: &Procfs, tid: u32, lookup: &Lookup<'_>) -> Result<Rc<Node>, Errno> {
    let rules = Rules::check(lookup)?;
    if lookup.path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let absolute = lookup.path.to_bytes().starts_with(b"/");
    let start = match rules.scope {
        Scope::Beneath if absolute => return Err(Errno::EXDEV),
        Scope::Free if absolute => procfs.follow(tid, "root")?,
        _ => open_start(procfs, tid, lookup.dirfd)?,
    };
    let in_root = rules.scope == Scope::InRoot || rules.scope == Scope::Free && absolute;
    let shortcut = Shortcut { start: start.as_fd(), path: lookup.path, rules, in_root };
    match shortcut.take() {
        Some(result) => result.and_then(Node::of).map(Rc::new),
        None => {
            let root = match rules.scope {
                Scope::Free if !absolute => Some(procfs.follow(tid, "root")?),
                _ => None,
            };
            walk::walk(procfs, tid, start, root, lookup.path, rules)
        }
    }
}

/// The directory that a relative path starts at.
fn open_start(procfs: &Procfs, tid: u32, dirfd: i32) -> Result<OwnedFd, Errno> {
    if dirfd == libc::AT_FDCWD {
        return procfs.follow(tid, "cwd");
    }
    procfs.follow(tid, &format!("fd/{dirfd}")).map_err(|errno| match errno {
        Errno::ENOENT => Errno::EBADF,
        errno => errno,
    })
}

/// Resolution by the kernel, where its answer does not depend on who asks.
struct Shortcut<'a> {
    start: BorrowedFd<'a>,
    path: &'a CStr,
    rules: Rules,
    /// Whether `start` is the root of the walk, and not only its first directory.
    in_root: bool,
}

impl Shortcut<'_> {
    /// `None` if the path must be walked.
    fn take(&self) -> Option<Result<OwnedFd, Errno>> {
        match self.open(ResolveFlag::RESOLVE_NO_SYMLINKS) {
            Err(Errno::ELOOP) => {}
            result => return decided(result),
        }
        if !self.rules.symlinks || is_procfs(self.start) {
            return None;
        }
        match self.open(ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV) {
            Err(Errno::ELOOP) => None,
            result => decided(result),
        }
    }

    fn open(&self, how: ResolveFlag) -> Result<OwnedFd, Errno> {
        let scope = if self.in_root { ResolveFlag::RESOLVE_IN_ROOT } else { ResolveFlag::RESOLVE_BENEATH };
        let last = if self.rules.follow { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        let mounts =
            if self.rules.cross_mounts { ResolveFlag::empty() } else { ResolveFlag::RESOLVE_NO_XDEV };
        let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC | last).resolve(how | scope | mounts);
        openat2(self.start, self.path, how)
    }
}

/// Leaving the start, and a rename that races with `..`, say nothing of the caller's own look-up.
fn decided(result: Result<OwnedFd, Errno>) -> Option<Result<OwnedFd, Errno>> {
    match result {
        Err(Errno::EXDEV | Errno::EAGAIN) => None,
        result => Some(result),
    }
}

/// Whether `file` is in a procfs, of whatever PID namespace.
pub(super) fn is_procfs(file: BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
}

/// Whether the mount that `file` was reached through is for reading only.
pub(super) fn is_read_only(file: BorrowedFd<'_>) -> bool {
    fstatvfs(file).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
}
