//! Exhausts descriptors, processes, memory, mappings, instances and areas.

use crate::beside::{Quiet, TRACED, assert_nothing_left, beside};
use crate::group::Group;
use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::{Run, Session, client, long};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::time::Duration;

/// The tenant's own descriptor limit.
#[test]
fn a_tenant_may_exhaust_its_descriptors() -> Result<()> {
    beside(&["hostile_exhaust", "fds"], &[])
}

/// `vm.max_map_count` mappings.
#[test]
fn a_tenant_may_exhaust_its_mappings() -> Result<()> {
    beside(&["hostile_exhaust", "maps"], &[])
}

/// Every inotify instance of the tenant's user, which may be the broker's user too.
#[test]
fn a_tenant_may_exhaust_the_inotify_instances_of_its_user() -> Result<()> {
    beside(&["hostile_exhaust", "watches"], &[])
}

fn in_group(controller: &str, what: &str, limit: impl Fn(&Group) -> Result<()>) -> Result<()> {
    let Some(group) = Group::new(controller, what) else {
        println!("this machine has no {controller} controller");
        return Ok(());
    };
    if limit(&group).is_err() {
        println!("the {controller} controller cannot be used here");
        return Ok(());
    }
    let path = group.path().to_string_lossy();
    beside(&["hostile_exhaust", what, &path], &[])
}

/// As many processes as a cgroup allows.
#[test]
fn a_tenant_may_exhaust_its_processes() -> Result<()> {
    in_group("pids", "pids", |group| group.limit("pids.max", "pids.max", "32"))
}

/// The memory of a cgroup, filled through areas: the out-of-memory killer hits the tenant.
#[test]
fn a_tenant_may_exhaust_the_memory_of_its_cgroup() -> Result<()> {
    in_group("memory", "memory", |group| group.limit("memory.max", "memory.limit_in_bytes", "33554432"))
}

/// `INIT_TRACE` above the quota of instances gives `ENOMEM`, and all instances are released afterwards.
#[test]
fn instances_above_the_quota_give_enomem() -> Result<()> {
    beside(&["hostile_exhaust", "opens", "2500", "2000"], &["--max-instances", "2000"])
}

/// 70,000 opens at once, of which 65,536 can be initialised under the default quota; fewer if the descriptor limit is lower and
/// cannot be raised.
#[test]
fn the_default_quota_of_instances_can_be_used_up() -> Result<()> {
    /// Descriptors that client and broker need in addition.
    const BESIDES: u64 = 1000;
    /// An instance may need two descriptors of the broker.
    const ENOUGH: u64 = 2 * 65_536 + BESIDES;
    if !long() {
        return Ok(());
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard >= ENOUGH || setrlimit(Resource::RLIMIT_NOFILE, soft, ENOUGH).is_ok() {
        return beside(&["hostile_exhaust", "opens", "70000", "65536"], &[]);
    }
    let (opens, most) = ((hard - BESIDES).to_string(), (hard / 2 - BESIDES).to_string());
    println!("descriptors suffice for {opens} of 70000 opens");
    beside(&["hostile_exhaust", "opens", &opens, &most], &["--max-instances", &most])
}

/// An area above the limit is refused before anything is allocated.
#[test]
fn an_area_above_its_limit_is_refused() -> Result<()> {
    beside(&["hostile_exhaust", "area"], &["--max-area", "1M"])
}

/// The limit on the sum of all areas counts only areas in use.
#[test]
fn areas_above_the_total_limit_are_refused() -> Result<()> {
    beside(&["hostile_exhaust", "total", "1024", "9"], &["--max-total", "64K"])
}

/// Remote handles above their limit are refused in the kernel's order of checks. Handles of dead owners are
/// free.
#[test]
fn remote_handles_above_their_limit_are_refused() -> Result<()> {
    beside(&["hostile_exhaust", "handles", "12"], &["--max-handles", "12"])
}

/// Runs a client under a broker that has few descriptors and cannot raise that limit.
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

/// A tenant that uses up the broker's descriptors gets clean refusals, and its existing instances keep
/// working.
#[test]
fn a_tenant_may_exhaust_the_brokers_descriptors() -> Result<()> {
    let mut quiet = Quiet::start()?;
    quiet.assert_works()?;
    let outcome = with_few_descriptors(Session::new()?, &["broker"])?.finish()?;
    quiet.assert_undisturbed()?;
    assert_nothing_left(&outcome)
}

/// Then a worker's death does not end the run: descriptors are left for the next worker.
#[test]
fn a_worker_is_replaced_when_the_brokers_descriptors_are_exhausted() -> Result<()> {
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
