//! Access to procfs through one descriptor of `/proc`.

use crate::sys::file::{self, FileFacts};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Maximum size of a parsed procfs file, in bytes. `status` lists up to 65,536 groups of up to 11 bytes.
const MAX_FILE: u64 = 1 << 20;

/// Field of `stat`: start time of the thread in clock ticks after boot.
pub(super) const STAT_START: usize = 22;

/// The procfs of this process's PID namespace.
pub(super) struct Procfs {
    root: OwnedFd,
    device: u64,
}

impl Procfs {
    /// Opens `/proc`.
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(c"/proc", flags, Mode::empty())?;
        let FileFacts { id, .. } = file::file_facts(root.as_fd())?;
        Ok(Procfs { root, device: id.device })
    }

    /// Returns whether `device` is the `st_dev` of this procfs mount.
    pub(super) fn is_device(&self, device: u64) -> bool {
        self.device == device
    }

    /// Opens the target of a magic link of task `tid`: `root`, `cwd`, `fd/7`.
    pub(super) fn follow(&self, tid: u32, link: &str) -> Result<OwnedFd, Errno> {
        openat(&self.root, &*format!("{tid}/{link}"), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// The effective uid of task `tid`, which owns its directory. Ten times as fast as reading `status`
    /// (`task_dump_owner` in `fs/proc/base.c`).
    pub(super) fn effective_uid(&self, tid: u32) -> Result<u32, Errno> {
        let name = CString::new(tid.to_string()).map_err(|_| Errno::EINVAL)?;
        file::file_facts_at(self.root.as_fd(), &name).map(|facts| facts.uid)
    }

    /// Reads the fdinfo of a descriptor of this process.
    pub(super) fn own_fdinfo(&self, descriptor: BorrowedFd<'_>) -> Result<String, Errno> {
        read_text(self.root.as_fd(), &format!("self/fdinfo/{}", descriptor.as_raw_fd()))
    }

    /// Reads the file `name` of task `tid`.
    pub(super) fn read(&self, tid: u32, name: &str) -> Result<String, Errno> {
        read_text(self.root.as_fd(), &format!("{tid}/{name}"))
    }
}

/// Reads a procfs file. Replaces invalid UTF-8, which names of programs may contain.
pub(super) fn read_text(directory: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let file = openat(directory, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    File::from(file)
        .take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The values of `key` in a `status` file. A program's name cannot forge a line: the kernel escapes newlines
/// (`proc_task_name` in `fs/proc/array.c`).
pub(super) fn status_values<'t>(text: &'t str, key: &str) -> Option<Vec<&'t str>> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
        .map(|values| values.split_ascii_whitespace().collect())
}

/// Field `number` of a `stat` file, counted from 1 as in proc_pid_stat(5). Only fields after the program's name.
pub(super) fn stat_field(text: &str, number: usize) -> Option<u64> {
    // The name may contain parentheses, but the fields after it cannot.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}
