//! What gVisor's tests of its own KCOV ask of one, by meaning.

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
    // One for what is covered, one for maps, one a thread, one for both threads.
    assert_eq!(report.instances_opened, 5);
    Ok(())
}

/// With no call but the one that its cases cover.
#[test]
fn one_call_traced() -> Result<()> {
    assert_facts("getppid")
}

/// With every call, those of the threads' library among them.
#[test]
fn every_call_traced() -> Result<()> {
    assert_facts("all")
}
