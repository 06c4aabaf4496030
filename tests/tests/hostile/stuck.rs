//! Memory and paths that cannot be read: only the call that names them waits. `REMOTE_ENABLE` waits until its
//! deadline, and the other calls as they do without the broker.

use crate::beside::beside;
use anyhow::Result;
use kcov_tests::{library, long};

fn stuck(what: &str) -> Result<()> {
    beside(&["hostile_stuck", what], &["--deadline", "500ms"])
}

/// The same with a handler that has a device: then opens are trapped.
fn stuck_open(what: &str) -> Result<()> {
    let library = library("probe")?.display().to_string();
    beside(&["hostile_stuck", what], &["--deadline", "500ms", "--handler", &library])
}

/// `struct kcov_remote_arg` on a page that userfaultfd never resolves.
#[test]
fn an_unreadable_structure_delays_only_its_call() -> Result<()> {
    stuck("remote")
}

/// The arguments of i386's `mmap` on such a page.
#[test]
fn unreadable_arguments_of_mmap_delay_only_their_call() -> Result<()> {
    stuck("mmap")
}

/// The same two on a page of a file whose FUSE server never answers a read.
#[test]
fn an_unreadable_fuse_page_delays_only_its_call() -> Result<()> {
    ["fuse-remote", "fuse-mmap"].into_iter().try_for_each(stuck)
}

/// A path on a page that userfaultfd never resolves.
#[test]
fn an_unreadable_path_delays_only_its_open() -> Result<()> {
    stuck_open("path")
}

/// `struct open_how` on such a page.
#[test]
fn an_unreadable_open_how_delays_only_its_open() -> Result<()> {
    stuck_open("how")
}

/// The same two on a page of a file whose FUSE server never answers a read.
#[test]
fn an_unreadable_fuse_page_delays_only_its_open() -> Result<()> {
    ["fuse-path", "fuse-how"].into_iter().try_for_each(stuck_open)
}

/// A path below a FUSE mount whose server never answers: the process that resolves it cannot even be killed.
#[test]
fn an_unresolvable_path_delays_only_its_open() -> Result<()> {
    stuck_open("fuse")
}

/// Reading the fdinfo of this descriptor would hang: no process of the broker reads it.
#[test]
fn a_descriptor_whose_fdinfo_hangs_is_harmless() -> Result<()> {
    beside(&["hostile_fdinfo", if long() { "30000" } else { "2000" }], &[])
}
