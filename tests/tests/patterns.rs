//! The patterns of use in the kernel's documentation of KCOV: which process opens, maps and enables.

use anyhow::Result;
use kcov_tests::{Run, client, long};

const PROFILES: [&str; 3] = ["getppid,read", "syzkaller,getppid", "every"];

/// Runs the client under each profile and asserts what it prints.
#[track_caller]
fn assert_facts(name: &str, rounds: Option<u64>, facts: &str) -> Result<()> {
    let program = client(name)?.into_os_string();
    let command: Vec<_> = [program].into_iter().chain(rounds.map(|n| n.to_string().into())).collect();
    for profile in PROFILES {
        let outcome = Run::new(command.clone()).trace(profile).output()?;
        assert_eq!(outcome.stdout, facts, "under {profile}:\n{}", outcome.stderr);
        let report = outcome.assert_sound()?;
        assert_eq!(report.records_lost, 0, "under {profile}");
    }
    Ok(())
}

/// An instance with remote handles has no records of its owner's own calls, or of children's.
#[test]
fn remote_coverage_has_no_records_of_own_calls_or_children() -> Result<()> {
    let traced = "getppid,unlink,unlinkat,openat,close";
    let outcome = Run::new([client("remote_only")?]).trace(traced).output()?;
    assert_eq!(outcome.stdout, "own 0\nchild 0\n", "{}", outcome.stderr);
    outcome.assert_sound()?;
    Ok(())
}

fn rounds() -> u64 {
    if long() { 10_000 } else { 200 }
}

/// The parent opens, initialises and maps. Its children enable, each right after the one before was waited
/// for, and several at once. Children of an enabled parent are not enabled.
#[test]
fn the_parent_maps_and_children_enable() -> Result<()> {
    let rounds = rounds();
    let facts = format!(
        "one-after-the-other {rounds}\nall-at-once {rounds}\nchild-is-not-enabled 1\nchild-has-another 1\n\
         parent-goes-on 1\n"
    );
    assert_facts("pattern_children", Some(rounds), &facts)
}

/// Of several threads that enable one descriptor at once, exactly one succeeds, and the descriptor is free
/// when that thread was joined.
#[test]
fn one_descriptor_has_one_owner_among_threads() -> Result<()> {
    let rounds = rounds();
    assert_facts("pattern_threads", Some(rounds), &format!("one-of-eight {rounds}\nturns yes\n"))
}

/// Two descriptors of one thread, several names of one descriptor, comparisons, remote coverage.
#[test]
fn descriptors_comparisons_and_remote_coverage() -> Result<()> {
    let facts = "\
first yes
second-is-busy yes
not-to-be-disabled-by-the-other yes
still-first yes
second yes
first-is-off yes
dup-enables yes
sent-disables yes
last-name yes
reopened-is-another yes
goes-on-when-closed yes
busy-when-closed yes
comparisons yes
remote yes
remote-records-no-own-calls yes
remote-disable yes
";
    assert_facts("pattern_descriptors", None, facts)
}
