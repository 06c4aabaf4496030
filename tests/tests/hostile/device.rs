//! Files, descriptors and areas.

use crate::beside::beside;
use anyhow::Result;
use kcov_tests::long;

/// A memfd with the device's name or a file with its inode number is not the device. Nothing can be stored in
/// the device before `INIT_TRACE`. Seals, truncation, writes and holes are refused or affect only the tenant
/// itself.
#[test]
fn files_that_imitate_the_device_are_not_the_device() -> Result<()> {
    beside(&["hostile_files"], &[])
}

/// The tenant's own file system gives its files the inode numbers of an area and of the device.
#[test]
fn files_with_forged_inode_numbers_are_not_the_device() -> Result<()> {
    beside(&["hostile_fuse"], &[])
}

/// A call acts on one instance even if its descriptor is exchanged meanwhile, and nothing is recorded into
/// another.
#[test]
fn a_descriptor_may_be_exchanged_during_every_call() -> Result<()> {
    beside(&["hostile_swap", if long() { "1000000" } else { "20000" }], &[])
}

/// No value of the count makes the worker record outside the area.
#[test]
fn garbage_in_the_count_stays_within_the_area() -> Result<()> {
    beside(&["hostile_headers", if long() { "30000" } else { "1000" }], &[])
}

/// Opens through io_uring, which pass no filter, are opens of the device.
#[test]
fn opens_by_io_uring_are_opens_of_the_device() -> Result<()> {
    beside(&["hostile_uring"], &[])
}
