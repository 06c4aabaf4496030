//! A path lookup in user space, component by component, with the rules of `fs/namei.c` (Linux 6.12).
//!
//! It resolves `self` and `thread-self` of procfs as the caller. Each component is opened without following links, and
//! symbolic links are expanded here. The kernel only follows magic links, which lead to files and not to paths.

mod self_link;

use super::path::{Rules, Scope, is_procfs};
use super::procfs::Procfs;
use crate::sys::file::{self, FileFacts};
use crate::sys::path_lookup;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::libc;
use nix::sys::stat::Mode;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

/// Maximum number of symbolic links in one lookup (`MAXSYMLINKS` in `include/linux/namei.h`).
const MAX_LINKS: u32 = 40;
/// Maximum length of a link's target, in bytes (`PATH_MAX`).
const MAX_TARGET: usize = 4096;

/// Walks `path` from `start`. `root` is the caller's, or `None` where `start` bounds the walk.
pub(super) fn walk(
    procfs: &Procfs,
    tid: u32,
    start: OwnedFd,
    root: Option<OwnedFd>,
    path: &CStr,
    rules: Rules,
) -> Result<Rc<Node>, Errno> {
    let at = Rc::new(Node::of(start)?);
    let root = root.map(Node::of).transpose()?.map_or_else(|| Rc::clone(&at), Rc::new);
    let root_is_set = rules.scope != Scope::Free || path.to_bytes().starts_with(b"/");
    let mut walk = Walk { procfs, tid, rules, root, root_is_set, at, pending: Vec::new(), links: 0 };
    walk.push(path.to_bytes());
    while let Some(name) = walk.pending.pop() {
        walk.step(&name)?;
    }
    Ok(walk.at)
}

/// A file on the path.
pub(super) struct Node {
    pub(super) file: OwnedFd,
    pub(super) facts: FileFacts,
}

impl Node {
    pub(super) fn of(file: OwnedFd) -> Result<Self, Errno> {
        let facts = file::file_facts(file.as_fd())?;
        Ok(Node { file, facts })
    }

    /// Opens the entry `name`, following mounts; `ENOTDIR` if this is not a directory.
    fn open(&self, name: &[u8], flags: OFlag) -> Result<Node, Errno> {
        Node::of(openat(&self.file, name, flags | OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?)
    }

    /// Returns whether both are the same file on the same mount, as the kernel compares to stop `..` at a root (`path_equal`).
    fn is(&self, other: &Node) -> bool {
        self.facts.id == other.facts.id && self.facts.mount == other.facts.mount
    }
}

/// A lookup in progress.
struct Walk<'a> {
    procfs: &'a Procfs,
    tid: u32,
    rules: Rules,
    root: Rc<Node>,
    /// Whether the kernel would have looked up the root, which it does on first use. Before that, `RESOLVE_NO_XDEV`
    /// refuses all absolute links (`nd_jump_root`).
    root_is_set: bool,
    at: Rc<Node>,
    /// Remaining components, the next one last.
    pending: Vec<Vec<u8>>,
    links: u32,
}

impl Walk<'_> {
    /// Puts the components of `path` before those pending. A trailing slash has the effect of a trailing `.`: a link is
    /// followed, and the result must be a directory.
    fn push(&mut self, path: &[u8]) {
        if path.ends_with(b"/") {
            self.pending.push(b".".to_vec());
        }
        let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        self.pending.extend(names.rev().map(<[u8]>::to_vec));
    }

    fn step(&mut self, name: &[u8]) -> Result<(), Errno> {
        if !self.at.facts.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        match name {
            b"." => Ok(()),
            b".." => self.up(),
            name => {
                let found = self.at.open(name, OFlag::O_NOFOLLOW)?;
                let is_last = self.pending.is_empty();
                if found.facts.is_symlink() && (self.rules.follow || !is_last) {
                    self.link(&found, name)
                } else {
                    self.enter(found)
                }
            }
        }
    }

    fn up(&mut self) -> Result<(), Errno> {
        self.root_is_set = true;
        if self.at.is(&self.root) {
            return if self.rules.scope == Scope::Beneath { Err(Errno::EXDEV) } else { Ok(()) };
        }
        let parent = self.at.open(b"..", OFlag::O_DIRECTORY)?;
        self.enter(parent)
    }

    fn enter(&mut self, node: Node) -> Result<(), Errno> {
        self.may_reach(&node)?;
        self.at = Rc::new(node);
        Ok(())
    }

    fn may_reach(&self, node: &Node) -> Result<(), Errno> {
        let stays = node.facts.mount == self.at.facts.mount;
        if stays || self.rules.cross_mounts { Ok(()) } else { Err(Errno::EXDEV) }
    }

    /// Follows the symbolic link `found`, named `name`.
    fn link(&mut self, found: &Node, name: &[u8]) -> Result<(), Errno> {
        if !self.rules.symlinks || self.links == MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        self.links += 1;
        if is_procfs(found.file.as_fd()) {
            if let Some(target) = self_link::target(self.procfs, self.tid, &self.at, name)? {
                return self.expand(target.as_bytes());
            }
            if self.is_magic(name) {
                return self.jump(name);
            }
        }
        let target = readlinkat(&found.file, c"")?;
        self.expand(target.as_bytes())
    }

    fn expand(&mut self, target: &[u8]) -> Result<(), Errno> {
        match target {
            [] => return Err(Errno::ENOENT),
            [b'/', ..] => {
                if self.rules.scope == Scope::Beneath || !self.rules.cross_mounts && !self.root_is_set {
                    return Err(Errno::EXDEV);
                }
                self.may_reach(&self.root)?;
                self.root_is_set = true;
                self.at = Rc::clone(&self.root);
            }
            _ if target.len() >= MAX_TARGET => return Err(Errno::ENAMETOOLONG),
            _ => {}
        }
        self.push(target);
        Ok(())
    }

    /// Returns whether this is a magic link, which only the kernel knows. Other errors come from the target of an
    /// ordinary link and occur again when that is walked.
    fn is_magic(&self, name: &[u8]) -> bool {
        let Ok(name) = CString::new(name) else { return false };
        let opened = path_lookup::open(self.at.file.as_fd(), &name, libc::RESOLVE_NO_MAGICLINKS, true);
        opened.err() == Some(Errno::ELOOP)
    }

    fn jump(&mut self, name: &[u8]) -> Result<(), Errno> {
        if !self.rules.magic_links {
            return Err(Errno::ELOOP);
        }
        if self.rules.scope != Scope::Free {
            return Err(Errno::EXDEV);
        }
        let target = self.at.open(name, OFlag::empty())?;
        self.enter(target)
    }
}
