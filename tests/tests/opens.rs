//! Opens of the device are native: by any path and any call, they lead to the device, and cost the broker
//! nothing. `INIT_TRACE` makes the instance, for every descriptor of the same open.

use anyhow::Result;
use kcov_tests::report::Report;
use kcov_tests::{Outcome, Run, client, long, ordinary};
use std::ffi::OsString;
use std::time::Duration;

/// Descriptors of threads, which the broker keeps open.
const CACHES: u64 = 64 + 256 + 16;
/// Memory for those.
const GROWTH_KIB: u64 = 8 * 1024;
const WITHIN: Duration = Duration::from_secs(300);

fn command(words: &[&str]) -> Result<Vec<OsString>> {
    let (name, arguments) = words.split_first().unwrap_or((&"", &[]));
    Ok([client(name)?.into_os_string()].into_iter().chain(arguments.iter().map(Into::into)).collect())
}

fn by_root(words: &[&str]) -> Result<Outcome> {
    Run::new(command(words)?).trace("kcov,getppid").within(WITHIN).output()
}

fn by_user(options: &[&str], words: &[&str]) -> Result<Outcome> {
    let session = ordinary::session()?;
    let options = [&["--trace", "kcov,getppid"], options].concat();
    let run = ordinary::run(&session, &options, &command(words)?)?;
    run.within(WITHIN).directory(session.directory()).start_in(session)?.finish()
}

/// Runs the client as root, as an ordinary user, and as root of that user's namespace.
fn by_all(words: &[&str]) -> Result<()> {
    for outcome in [by_root(words)?, by_user(&[], words)?, by_user(&["--map-root"], words)?] {
        println!("{}", outcome.stdout);
        outcome.assert_sound()?;
    }
    Ok(())
}

#[track_caller]
fn assert_no_growth(report: &Report) {
    let descriptors = report.open_fds_end.saturating_sub(report.open_fds_start);
    assert!(descriptors <= CACHES, "{descriptors} descriptors more: {report:?}");
    let memory = report.rss_end_kib.saturating_sub(report.rss_start_kib);
    assert!(memory <= GROWTH_KIB, "{memory} KiB more: {report:?}");
}

/// Copies by dup, fork, vfork, `SCM_RIGHTS`, `pidfd_getfd` and `unshare(CLONE_FILES)`.
#[test]
fn copies_made_before_init_are_the_same_instance() -> Result<()> {
    by_all(&["open_copies", if long() { "500" } else { "20" }])
}

#[test]
fn flags_of_a_descriptor_survive_init() -> Result<()> {
    by_all(&["open_flags"])?;
    by_all(&["open_flags", "undumpable"])
}

/// `openat2`, io_uring, `open_by_handle_at`, links in procfs and others. Calls of i386 have a test of their
/// own.
#[test]
fn every_call_that_opens_reaches_the_device() -> Result<()> {
    by_all(&["open_ways", "every"])
}

#[test]
fn nothing_can_be_stored_in_the_device_before_init() -> Result<()> {
    by_all(&["open_ways", "store"])
}

#[test]
fn a_descriptor_may_be_replaced_during_init() -> Result<()> {
    by_all(&["open_ways", "replace", if long() { "20000" } else { "1000" }])
}

#[test]
fn init_succeeds_although_another_thread_truncates_the_file() -> Result<()> {
    by_all(&["open_ways", "shrink", "5000"])
}

#[test]
fn many_instances_leave_nothing() -> Result<()> {
    for outcome in
        [by_root(&["open_ways", "cycles", "20000"])?, by_user(&[], &["open_ways", "cycles", "20000"])?]
    {
        let report = outcome.assert_sound()?;
        assert_eq!(report.instances_opened, 20_000);
        assert_no_growth(report);
    }
    Ok(())
}

#[test]
fn opens_cost_the_broker_nothing() -> Result<()> {
    let few = by_root(&["open_ways", "opens", "1"])?;
    for outcome in
        [by_root(&["open_ways", "opens", "1000000"])?, by_user(&[], &["open_ways", "opens", "1000000"])?]
    {
        let report = outcome.assert_sound()?;
        assert_eq!(report.instances_opened, 0);
        assert!(report.notifications <= few.report()?.notifications, "{report:?}");
        assert!(report.assists <= few.report()?.assists, "{report:?}");
        assert_no_growth(report);
    }
    Ok(())
}
