//! Resolves a path as the calling thread would.
//!
//! Most paths are resolved by the kernel in one step, in the caller's root. That is only correct if the result does not
//! depend on the process that resolves it. `/proc/self`, `/proc/thread-self` and magic links below them depend on it, and
//! any symbolic link may lead there. So the kernel is first asked to resolve without symbolic links. If there are some,
//! it is asked to stay on one mount that is not procfs. All other paths are resolved step by step ([`walk`]).
//!
//! Search permission is not checked: the reader may search all directories.

use super::procfs::Procfs;
use super::walk::{self, Node};
use crate::sys::path_lookup;

use nix::errno::Errno;
use nix::libc;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
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

/// Restriction of the lookup (`openat2(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Anywhere below the caller's root.
    Free,
    /// Below the start; leaving it is an error.
    Beneath,
    /// Below the start, which is treated as the root.
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
    /// Ignores bits that do not affect the result (`RESOLVE_CACHED`).
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

/// Resolves a path as thread `tid` would.
///
/// # Errors
/// Those of the lookup for a caller that may search all directories.
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

/// Resolution by the kernel, where the result does not depend on the process.
struct Shortcut<'a> {
    start: BorrowedFd<'a>,
    path: &'a CStr,
    rules: Rules,
    /// Whether `start` is the root of the lookup and not only its first directory.
    in_root: bool,
}

impl Shortcut<'_> {
    /// `None` if the path must be walked.
    fn take(&self) -> Option<Result<OwnedFd, Errno>> {
        match self.open(libc::RESOLVE_NO_SYMLINKS) {
            Err(Errno::ELOOP) => {}
            result => return decided(result),
        }
        if !self.rules.symlinks || is_procfs(self.start) {
            return None;
        }
        match self.open(libc::RESOLVE_NO_MAGICLINKS | libc::RESOLVE_NO_XDEV) {
            Err(Errno::ELOOP) => None,
            result => decided(result),
        }
    }

    fn open(&self, how: u64) -> Result<OwnedFd, Errno> {
        let scope = if self.in_root { libc::RESOLVE_IN_ROOT } else { libc::RESOLVE_BENEATH };
        let mounts = if self.rules.cross_mounts { 0 } else { libc::RESOLVE_NO_XDEV };
        path_lookup::open(self.start, self.path, how | scope | mounts, self.rules.follow)
    }
}

/// `EXDEV` (the path leaves the start) and `EAGAIN` (a rename races with `..`) do not tell the caller's result.
fn decided(result: Result<OwnedFd, Errno>) -> Option<Result<OwnedFd, Errno>> {
    match result {
        Err(Errno::EXDEV | Errno::EAGAIN) => None,
        result => Some(result),
    }
}

/// Returns whether `file` is in a procfs of any PID namespace.
pub(super) fn is_procfs(file: BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC)
}
