//! A `/proc/kallsyms` of the text that PCs lie in.
//!
//! A fuzzer reads from it where the kernel's text begins and ends (`_stext`, `_etext`) and drops what lies outside.
//! The host's addresses are wrong for PCs of handlers, and a machine without `CAP_SYSLOG` shows them as 0.

use super::{PlaceholderError, StepError, cover_by, new_file, open_directory, step};
use kcov_proto::site::{TEXT_END, TEXT_START};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::stat::Mode;
use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

const DIRECTORY: &str = "/proc";
const NAME: &CStr = c"kallsyms";
const PATH: &str = "/proc/kallsyms";
/// Mode of the kernel's own (`kallsyms_init` in `kernel/kallsyms.c`).
const MODE: Mode = Mode::from_bits_truncate(0o444);

/// Covers `/proc/kallsyms` with a file that names the first and the last address of the text that PCs lie in,
/// read-only. To be called after [`install`](super::install), which gives this process a mount namespace of its own.
///
/// A procfs that the tenant mounts itself shows the host's.
///
/// # Errors
/// If the file cannot be made or mounted: `ENOENT` where the kernel has no `/proc/kallsyms` to cover.
pub fn install_kallsyms() -> Result<(), PlaceholderError> {
    cover().map_err(|StepError { step, errno }| PlaceholderError { call: step, errno })
}

fn cover() -> Result<(), StepError> {
    let directory = open_directory(DIRECTORY)?;
    cover_by(DIRECTORY, directory.as_fd(), NAME, create)?;
    // Root is not kept from writing by the mode. A bind mount keeps only the flags that are named again.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY;
    let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | flags;
    nix::mount::mount(None::<&str>, PATH, None::<&str>, again, None::<&str>)
        .map_err(step("mount(MS_REMOUNT)"))
}

fn create(directory: BorrowedFd<'_>) -> Result<(), StepError> {
    let failed = |error: std::io::Error| step("write")(Errno::from_raw(error.raw_os_error().unwrap_or(0)));
    File::from(new_file(directory, NAME, MODE)?).write_all(text().as_bytes()).map_err(failed)
}

/// A line a symbol: address, type (`T`: global, in the text), name (`s_show` in `kernel/kallsyms.c`).
fn text() -> String {
    format!("{TEXT_START:016x} T _stext\n{TEXT_END:016x} T _etext\n")
}
