//! Files, descriptors and areas.

use crate::beside::beside;
use anyhow::Result;
use kcov_tests::long;

/// A memfd of the device's name and a file of its inode number are none; seals, sizes, contents and holes are held
/// off, or are the tenant's own trouble.
#[test]
fn files_that_are_no_device_and_what_the_devices_file_takes() -> Result<()> {
    beside(&["hostile_files"], &[])
}

/// A file system of the tenant's own gives its files the inode numbers of an area and of the device.
#[test]
fn files_with_inode_numbers_of_the_tenants_choice() -> Result<()> {
    beside(&["hostile_fuse"], &[])
}

/// Whatever is exchanged under a call, it acts on one object, and nothing else is recorded into.
#[test]
fn a_descriptor_exchanged_during_every_call() -> Result<()> {
    beside(&["hostile_swap", if long() { "1000000" } else { "20000" }], &[])
}

/// No count leads a record out of its area.
#[test]
fn garbage_in_the_count() -> Result<()> {
    beside(&["hostile_headers", if long() { "30000" } else { "1000" }], &[])
}

/// Opens that no filter sees: the path is the placeholder's, a re-open is the same object.
#[test]
fn opens_by_io_uring() -> Result<()> {
    beside(&["hostile_uring"], &[])
}
