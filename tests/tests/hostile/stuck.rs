//! Memory and paths that cannot be read: only the call that names them waits, until its deadline.

use crate::beside::beside;
use anyhow::Result;
use kcov_tests::long;

fn stuck(what: &str) -> Result<()> {
    beside(&["hostile_stuck", what], &["--deadline", "500ms"])
}

/// A path on a page that userfaultfd never resolves.
#[test]
fn an_unreadable_path_delays_only_its_call() -> Result<()> {
    stuck("path")
}

/// `struct kcov_remote_arg` on such a page.
#[test]
fn an_unreadable_structure_delays_only_its_call() -> Result<()> {
    stuck("remote")
}

/// `struct open_how` on such a page.
#[test]
fn an_unreadable_open_how_delays_only_its_call() -> Result<()> {
    stuck("how")
}

/// The same three on a page of a file whose FUSE server never answers a read.
#[test]
fn an_unreadable_fuse_page_delays_only_its_call() -> Result<()> {
    ["fuse-path", "fuse-remote", "fuse-how"].into_iter().try_for_each(stuck)
}

/// A path below a FUSE mount whose server never answers: the process that resolves it cannot even be killed.
#[test]
fn an_unresolvable_path_delays_only_its_call() -> Result<()> {
    stuck("fuse")
}

/// Reading the fdinfo of this descriptor would hang: no process of the broker reads it.
#[test]
fn a_descriptor_whose_fdinfo_hangs_is_harmless() -> Result<()> {
    beside(&["hostile_fdinfo", if long() { "30000" } else { "2000" }], &[])
}
