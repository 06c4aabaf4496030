//! Checks what gVisor's own KCOV tests check, written anew.

use anyhow::Result;
use kcov_tests::{Run, client};

const FACTS: &str = "\
covered yes
not-after-disable yes
mmap-before-init yes
init yes
mmap-after-init yes
two-at-once yes
first-enables yes
second-is-refused yes
first-disables yes
second-enables-and-leaves yes
first-enables-again yes
first-disables-again yes
";

fn assert_facts(profile: &str) -> Result<()> {
    let outcome = Run::new([client("gvisor_kcov")?]).trace(profile).output()?;
    let report = outcome.assert_sound()?;
    assert_eq!(outcome.stdout, FACTS, "{}", outcome.stderr);
    // One instance for what is covered, one for maps, one a thread, one for both threads.
    assert_eq!(report.instances_opened, 5);
    Ok(())
}

/// Only the call that the cases cover is traced.
#[test]
fn gvisor_cases_pass_with_one_call_traced() -> Result<()> {
    assert_facts("getppid")
}

/// Every call is traced, also those of the thread library.
#[test]
fn gvisor_cases_pass_with_every_call_traced() -> Result<()> {
    assert_facts("every")
}
