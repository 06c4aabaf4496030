//! Rules of the kernel that clients seldom meet: what it refuses before it asks the device, callers of the other table
//! of system calls, other names of the device, tasks of unusual kinds.

use anyhow::Result;
use kcov_tests::{Run, client, long};
use std::ffi::OsString;

const PROFILES: [&str; 2] = ["kcov,getppid", "all"];

/// Runs a client that judges itself under each profile.
#[track_caller]
fn assert_rules(name: &str, arguments: &[&str]) -> Result<()> {
    let program = client(name)?.into_os_string();
    let command: Vec<OsString> = [program].into_iter().chain(arguments.iter().map(OsString::from)).collect();
    for profile in PROFILES {
        Run::new(command.clone()).trace(profile).output()?.assert_sound()?;
    }
    Ok(())
}

fn tries() -> &'static str {
    if long() { "200000" } else { "3000" }
}

/// Flags, modes and structures that no open may have are refused of the device as of any file.
#[test]
fn opens_that_the_kernel_refuses() -> Result<()> {
    assert_rules("refused_opens", &[tries()])
}

/// So are lengths, offsets, addresses and types of mappings, and the device has its say after that.
#[test]
fn maps_that_the_kernel_refuses() -> Result<()> {
    assert_rules("refused_maps", &[tries()])
}

/// The 32-bit table of system calls, in a 64-bit program.
#[test]
fn the_calls_of_i386() -> Result<()> {
    if cfg!(not(target_arch = "x86_64")) {
        println!("no such table on this machine");
        return Ok(());
    }
    assert_rules("i386_calls", &[])
}

/// Every name of an object opens a new one, and one of a path alone is none; the device keeps its own.
#[test]
fn names_of_the_device_and_its_objects() -> Result<()> {
    for profile in PROFILES {
        let place = tempfile::tempdir()?;
        let words = [client("other_names")?, place.path().to_path_buf()];
        Run::new(words).trace(profile).output()?.assert_sound()?;
    }
    Ok(())
}

/// Owners without a leader, without a memory, descriptor or descriptor table of their own, and many of them.
#[test]
fn tasks_of_unusual_kinds() -> Result<()> {
    assert_rules("odd_tasks", &[if long() { "2500" } else { "300" }])
}
