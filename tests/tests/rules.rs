//! Rules of the kernel that clients rarely meet: what it refuses before it asks the device, i386 callers,
//! other names of the device, unusual tasks.

use anyhow::Result;
use kcov_tests::{Run, client, long};
use std::ffi::OsString;

/// `mmap` is traced for the exact rules of private maps.
const PROFILES: [&str; 2] = ["kcov,mmap,getppid", "every"];

/// Runs a client that checks itself, under each profile.
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

/// Invalid flags, modes and structures of an open are refused as for any file.
#[test]
fn invalid_opens_are_refused_as_by_the_kernel() -> Result<()> {
    assert_rules("refused_opens", &[tries()])
}

/// Invalid lengths, offsets, addresses and types of mappings are refused as for any file, before the device
/// is asked.
#[test]
fn invalid_mappings_are_refused_as_by_the_kernel() -> Result<()> {
    assert_rules("refused_maps", &[tries()])
}

/// Calls through the 32-bit table of system calls, in a 64-bit program.
#[test]
fn i386_calls_work_in_a_64_bit_program() -> Result<()> {
    if cfg!(not(target_arch = "x86_64")) {
        println!("this machine has no i386 calls");
        return Ok(());
    }
    assert_rules("i386_calls", &[])
}

/// An open through another name of the device creates a new instance, an O_PATH descriptor does not; the
/// device keeps its names.
#[test]
fn other_names_of_the_device_behave_as_in_the_kernel() -> Result<()> {
    for profile in PROFILES {
        let place = tempfile::tempdir()?;
        let words = [client("other_names")?, place.path().to_path_buf()];
        Run::new(words).trace(profile).output()?.assert_sound()?;
    }
    Ok(())
}

/// Owners without a leader, or with memory or a descriptor table shared or gone, and many of them.
#[test]
fn unusual_tasks_can_own_instances() -> Result<()> {
    assert_rules("odd_tasks", &[if long() { "2500" } else { "300" }])
}
