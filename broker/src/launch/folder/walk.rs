//! From a path to an open folder, without links of other users.

use super::{Folder, FolderError, is_trusted};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// Most symbolic links in one path (`MAXSYMLINKS`, include/linux/namei.h).
const MAX_LINKS: u32 = 40;

/// Opens the folder at `path`. `create`: makes folders that do not exist.
pub(super) fn open(path: &Path, trusted: Option<u32>, create: bool) -> Result<Folder, FolderError> {
    let start = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut walk = Walk { at: top()?, path: "/".into(), pending: Vec::new(), links: 0, trusted };
    walk.push(&start);
    while let Some(name) = walk.pending.pop() {
        walk.step(&name, create)?;
    }
    // Until here the descriptor only names the folder.
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let file = openat(&walk.at, ".", flags, Mode::empty()).map_err(|errno| walk.failed(errno))?;
    Ok(Folder { file: file.into(), path: walk.path })
}

const NAMING: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

fn top() -> Result<OwnedFd, FolderError> {
    nix::fcntl::open("/", NAMING, Mode::empty())
        .map_err(|errno| FolderError::System { path: "/".into(), errno })
}

struct Walk {
    at: OwnedFd,
    path: PathBuf,
    /// Components that are left, the next one last.
    pending: Vec<OsString>,
    links: u32,
    trusted: Option<u32>,
}

impl Walk {
    fn push(&mut self, path: &Path) {
        let parts = path.components().rev();
        let parts = parts.filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
        self.pending.extend(parts.map(|part| part.as_os_str().to_owned()));
    }

    fn failed(&self, errno: Errno) -> FolderError {
        FolderError::System { path: self.path.clone(), errno }
    }

    fn step(&mut self, name: &OsString, create: bool) -> Result<(), FolderError> {
        let path =
            if name == ".." { self.path.parent().unwrap_or(&self.path).into() } else { self.path.join(name) };
        let failed = |errno| FolderError::System { path: path.clone(), errno };
        let open = || openat(&self.at, name.as_os_str(), NAMING, Mode::empty());
        let next = match open() {
            Err(Errno::ENOENT) if create => match mkdirat(&self.at, name.as_os_str(), Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => open(),
                Err(errno) => Err(errno),
            },
            next => next,
        };
        let next = next.map_err(failed)?;
        let facts = fstat(&next).map_err(failed)?;
        match SFlag::from_bits_truncate(facts.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR => (self.at, self.path) = (next, path),
            SFlag::S_IFLNK if self.links == MAX_LINKS => return Err(failed(Errno::ELOOP)),
            SFlag::S_IFLNK if !is_trusted(facts.st_uid, self.trusted) => {
                return Err(FolderError::Link { path, uid: facts.st_uid });
            }
            SFlag::S_IFLNK => {
                self.links += 1;
                let target = PathBuf::from(readlinkat(&next, "").map_err(failed)?);
                if target.is_absolute() {
                    (self.at, self.path) = (top()?, "/".into());
                }
                self.push(&target);
            }
            _ => return Err(failed(Errno::ENOTDIR)),
        }
        Ok(())
    }
}
