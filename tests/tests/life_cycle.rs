//! Whatever a client opened and left behind, or held when it was killed, leaves nothing in the broker.

use anyhow::Result;
use kcov_tests::report::Report;
use kcov_tests::{Run, client, long};
use std::time::Duration;

/// Rounds after which the broker's buffers and caches have reached their final size.
const WARM: u64 = 200;
/// Growth that is not a leak: less than a byte a round in the long run, less than a page in a hundred rounds
/// in the short run.
const GROWTH_KIB: u64 = 1024;

/// Difference in descriptors that is not a leak: the end of the last worker or reader may not be noticed yet.
const SPREAD_FDS: u64 = 4;

fn rounds() -> u64 {
    if long() { 100_000 } else { 1_000 }
}

fn after(client_name: &str, rounds: u64, profile: &str) -> Result<Report> {
    let program = client(client_name)?;
    let run = Run::new([program.into_os_string(), rounds.to_string().into()]);
    let outcome = run.trace(profile).within(Duration::from_secs(900)).output()?;
    assert_eq!(outcome.stdout.trim(), rounds.to_string(), "{}", outcome.stderr);
    Ok(outcome.assert_sound()?.clone())
}

#[track_caller]
fn assert_flat(warm: &Report, report: &Report) {
    let fds = warm.open_fds_end.abs_diff(report.open_fds_end);
    assert!(fds <= SPREAD_FDS, "descriptors: {warm:?}\n{report:?}");
    let growth = |report: &Report| report.rss_end_kib.saturating_sub(report.rss_start_kib);
    let more = growth(report).saturating_sub(growth(warm));
    assert!(more <= GROWTH_KIB, "memory grew by {more} KiB more: {warm:?}\n{report:?}");
}

/// Memory, descriptors and registry entries are the same after few and after many whole lives of an instance.
#[test]
fn whole_lives_of_instances_leave_nothing() -> Result<()> {
    let warm = after("life_cycle", WARM, "kcov,getppid")?;
    let report = after("life_cycle", rounds(), "kcov,getppid")?;
    assert_eq!(report.instances_opened, rounds());
    assert_flat(&warm, &report);
    Ok(())
}

/// Children that die of SIGKILL with an instance enabled and handles registered leave neither. Their handles
/// are free as soon as the children have been waited for.
#[test]
fn killed_owners_leave_nothing() -> Result<()> {
    let children = rounds() / 4;
    let warm = after("abandon", WARM / 4, "kcov")?;
    let report = after("abandon", children, "kcov")?;
    assert_eq!(report.instances_opened, children);
    assert_flat(&warm, &report);
    Ok(())
}
