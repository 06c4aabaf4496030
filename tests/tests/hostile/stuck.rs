//! Memory and paths that nobody can read: only the call that names them waits, to its deadline.

use crate::beside::beside;
use anyhow::Result;
use kcov_tests::long;

fn stuck(what: &str) -> Result<()> {
    beside(&["hostile_stuck", what], &["--deadline", "500ms"])
}

/// A path on a page that userfaultfd never resolves.
#[test]
fn a_path_that_cannot_be_read() -> Result<()> {
    stuck("path")
}

/// `struct kcov_remote_arg` there.
#[test]
fn a_structure_that_cannot_be_read() -> Result<()> {
    stuck("remote")
}

/// `struct open_how` there.
#[test]
fn an_open_how_that_cannot_be_read() -> Result<()> {
    stuck("how")
}

/// The same three on a page of a file whose FUSE server never answers a read.
#[test]
fn a_page_of_a_file_that_is_never_read() -> Result<()> {
    ["fuse-path", "fuse-remote", "fuse-how"].into_iter().try_for_each(stuck)
}

/// A path below a FUSE mount whose server takes the request and says nothing: whoever walks it cannot even be killed.
#[test]
fn a_path_that_cannot_be_walked() -> Result<()> {
    stuck("fuse")
}

/// A descriptor that is not to be looked at: nobody does.
#[test]
fn a_descriptor_that_is_a_trap() -> Result<()> {
    beside(&["hostile_fdinfo", if long() { "30000" } else { "2000" }], &[])
}
