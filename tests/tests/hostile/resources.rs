//! What there is of descriptors, processes, memory, mappings, instances and areas, used up.

use crate::beside::{Quiet, TRACED, assert_is_over, beside};
use crate::group::Group;
use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::{Run, Session, client, long};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::time::Duration;

/// The tenant's own limit of descriptors.
#[test]
fn descriptors_of_the_tenant() -> Result<()> {
    beside(&["hostile_exhaust", "fds"], &[])
}

/// `vm.max_map_count` mappings.
#[test]
fn mappings_of_the_tenant() -> Result<()> {
    beside(&["hostile_exhaust", "maps"], &[])
}

/// Every inotify instance of the tenant's user, who may be the broker's.
#[test]
fn watches_of_the_tenants_user() -> Result<()> {
    beside(&["hostile_exhaust", "watches"], &[])
}

fn in_group(controller: &str, what: &str, limit: impl Fn(&Group) -> Result<()>) -> Result<()> {
    let Some(group) = Group::new(controller, what) else {
        println!("no {controller} controller on this machine");
        return Ok(());
    };
    if limit(&group).is_err() {
        println!("the {controller} controller is not ours to use");
        return Ok(());
    }
    let path = group.path().to_string_lossy();
    beside(&["hostile_exhaust", what, &path], &[])
}

/// As many processes as a cgroup allows.
#[test]
fn processes_of_the_tenant() -> Result<()> {
    in_group("pids", "pids", |group| group.limit("pids.max", "pids.max", "32"))
}

/// A cgroup's memory, filled through the device's files: the out-of-memory killer hits the tenant.
#[test]
fn memory_of_the_tenant() -> Result<()> {
    in_group("memory", "memory", |group| group.limit("memory.max", "memory.limit_in_bytes", "33554432"))
}

/// One instance more than there may be is `ENFILE`, and all of them come back.
#[test]
fn instances() -> Result<()> {
    beside(&["hostile_exhaust", "opens", "2500", "2000"], &["--max-instances", "2000"])
}

/// 70,000 opens at once, of which the default quota grants 65,536; fewer where descriptors are fewer and their limit is
/// not to be raised.
#[test]
fn as_many_instances_as_there_may_be() -> Result<()> {
    /// Descriptors that client and broker need besides.
    const BESIDES: u64 = 1000;
    /// An instance may cost the broker two.
    const ENOUGH: u64 = 2 * 65_536 + BESIDES;
    if !long() {
        return Ok(());
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard >= ENOUGH || setrlimit(Resource::RLIMIT_NOFILE, soft, ENOUGH).is_ok() {
        return beside(&["hostile_exhaust", "opens", "70000", "65536"], &[]);
    }
    let (opens, most) = ((hard - BESIDES).to_string(), (hard / 2 - BESIDES).to_string());
    println!("of 70000 opens there are descriptors for {opens}");
    beside(&["hostile_exhaust", "opens", &opens, &most], &["--max-instances", &most])
}

/// An area above the limit is refused before anything is allocated.
#[test]
fn an_area_above_the_limit() -> Result<()> {
    beside(&["hostile_exhaust", "area"], &["--max-area", "1M"])
}

/// The limit of all areas together counts what is in use, and no more.
#[test]
fn areas_above_the_limit_of_all() -> Result<()> {
    beside(&["hostile_exhaust", "total", "1024", "9"], &["--max-total", "64K"])
}

/// Remote handles beyond their limit are refused in the kernel's order of checks; those of the dead are free.
#[test]
fn remote_handles() -> Result<()> {
    beside(&["hostile_exhaust", "handles", "12"], &["--max-handles", "12"])
}

/// Starts a client under a broker that may have few descriptors itself, and may not raise that limit.
fn with_few_descriptors(session: Session, words: &[&str]) -> Result<kcov_tests::Running> {
    const FEW: u32 = 1000;
    let [program, client] =
        [session.path("kcov-broker"), client("hostile_exhaust")?].map(|path| path.display().to_string());
    let report = session.path("report");
    let script = format!(
        "ulimit -n {FEW} && exec setpriv --bounding-set=-sys_resource {program} run --trace {TRACED} --deadline 500ms --report {} -- {client} {}",
        report.display(),
        words.join(" ")
    );
    Run::bash(&script).bare().within(Duration::from_secs(60)).start_in(session)
}

/// A tenant that takes every descriptor of the broker gets clean refusals, and what it has goes on working.
#[test]
fn descriptors_of_the_broker() -> Result<()> {
    let mut quiet = Quiet::start()?;
    quiet.works()?;
    let outcome = with_few_descriptors(Session::new()?, &["broker"])?.finish()?;
    quiet.assert_undisturbed()?;
    assert_is_over(&outcome)
}

/// Nor does it make a worker's death the end of the run: there are descriptors left for the next one.
#[test]
fn descriptors_of_the_broker_and_a_dead_worker() -> Result<()> {
    let session = Session::new()?;
    let control = kcov_tests::Control::new(session.path("control"))?;
    let path = control.path().display().to_string();
    let mut running = with_few_descriptors(session, &["broker", &path])?;
    running.reach(&control, 1, 1)?;
    let worker: Process = *running.session.named("kcov-worker").first().context("a worker")?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker.0), nix::sys::signal::Signal::SIGKILL)?;
    std::thread::sleep(Duration::from_millis(300));
    control.set(0, 1)?;
    let outcome = running.finish()?;
    assert_eq!(outcome.code(), 0, "{}\n{}", outcome.stdout, outcome.stderr);
    let report = outcome.report()?;
    assert_eq!(report.worker_crashes, 1, "{report:?}");
    report.assert_nothing_left();
    Ok(())
}
