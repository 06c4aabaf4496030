//! A `/proc/kallsyms` with the range that PCs lie in.
//!
//! A fuzzer reads the bounds of the kernel's text from it (`_stext`, `_etext`) and drops PCs outside of them.
//! The host's addresses are wrong for PCs of handlers, and without `CAP_SYSLOG` they read as 0.
//!
//! The kernel refuses a new procfs in a user namespace unless some procfs is mounted there of which nothing is covered
//! (`mount_too_revealing` in `fs/namespace.c`), wherever that is. So a second mount of `/proc` is kept, at a place that no
//! path leads to: below a mount that another one covers. Mounts over `/sys/kernel/debug` need no such thing: they cover
//! a directory of sysfs that is always empty, which the kernel permits.

use super::place::{DEBUG_DIRECTORY, PlaceholderError, cover_by, new_file, open_directory};
use crate::sys::mount;
use kcov_proto::site::{TEXT_END, TEXT_START};
use kcov_sys::{StepError, step};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, mkdirat};
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

const DIRECTORY: &str = "/proc";
const NAME: &CStr = c"kallsyms";
const PATH: &str = "/proc/kallsyms";
/// Mode of the kernel's file (`kallsyms_init` in `kernel/kallsyms.c`).
const MODE: Mode = Mode::from_bits_truncate(0o444);

/// Where the second mount of `/proc` is hidden.
const HIDDEN_AT: &str = DEBUG_DIRECTORY;
/// Options of the file system that it is mounted in: one directory.
const HIDING: &str = "mode=0,size=1,nr_inodes=2";

/// Keeps a mount of `/proc` of which nothing is covered, below what is mounted on `HIDDEN_AT`. It is listed in
/// `/proc/self/mountinfo`, as `/sys/kernel/debug/proc`.
///
/// # Errors
/// If that directory does not exist, or a mount is forbidden. New user namespaces cannot mount procfs then.
pub fn keep_proc_mountable() -> Result<(), PlaceholderError> {
    hide_proc().map_err(|StepError { step, errno }| PlaceholderError { call: step, errno })
}

fn hide_proc() -> Result<(), StepError> {
    let clone = |path| {
        let directory = open_directory(path)?;
        // With the mounts below it: in a user namespace the kernel clones locked mounts only together.
        mount::clone_tree(directory.as_fd(), c"", true).map_err(step("open_tree"))
    };
    let (proc, top) = (clone(DIRECTORY)?, clone(HIDDEN_AT)?);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    nix::mount::mount(Some("kcov"), HIDDEN_AT, Some("tmpfs"), flags, Some(HIDING))
        .map_err(step("mount(tmpfs)"))?;
    let place = open_directory(HIDDEN_AT)?;
    let hidden = mkdirat(&place, c"proc", Mode::empty()).map_err(step("mkdir"));
    let hidden =
        hidden.and_then(|()| mount::attach(proc.as_fd(), place.as_fd(), c"proc").map_err(step("move_mount")));
    // Whatever became of that, what was here is here again.
    mount::attach(top.as_fd(), place.as_fd(), c"").map_err(step("move_mount"))?;
    hidden
}

/// Covers `/proc/kallsyms` with a read-only file that has the first and the last address of the range that
/// PCs lie in. To be called after [`install`](super::install), which moves this process to its own mount
/// namespace.
///
/// A procfs that the tenant mounts itself has the host's file.
///
/// # Errors
/// If the file cannot be made or mounted: `ENOENT` if the kernel has no `/proc/kallsyms`.
pub fn install_kallsyms() -> Result<(), PlaceholderError> {
    cover().map_err(|StepError { step, errno }| PlaceholderError { call: step, errno })
}

fn cover() -> Result<(), StepError> {
    let directory = open_directory(DIRECTORY)?;
    cover_by(DIRECTORY, directory.as_fd(), NAME, create)?;
    // The mode does not stop root from writing. A remount of a bind mount drops the flags that it does not
    // repeat.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags;
    nix::mount::mount(None::<&str>, PATH, None::<&str>, again, None::<&str>)
        .map_err(step("mount(MS_REMOUNT)"))
}

fn create(directory: BorrowedFd<'_>) -> Result<(), StepError> {
    let failed = |error: std::io::Error| step("write")(Errno::from_raw(error.raw_os_error().unwrap_or(0)));
    File::from(new_file(directory, NAME, MODE)?).write_all(text().as_bytes()).map_err(failed)
}

/// One line for each symbol: address, type (`T`: global, in the text), name (`s_show` in
/// `kernel/kallsyms.c`).
fn text() -> String {
    format!("{TEXT_START:016x} T _stext\n{TEXT_END:016x} T _etext\n")
}
