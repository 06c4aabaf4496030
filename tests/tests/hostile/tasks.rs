//! Signals, races of tasks, filters, tracers, stops, the freezer.

use crate::beside::{Quiet, beside};
use crate::group::Group;
use anyhow::Result;
use kcov_tests::{Control, Run, Session, client, long};
use std::thread::sleep;
use std::time::Duration;

const GO: u64 = 0;
const READY: u64 = 1;
const ROUNDS: u64 = 2;
const EIOS: u64 = 3;
const WRONGS: u64 = 4;

fn milliseconds() -> &'static str {
    if long() { "30000" } else { "1000" }
}

/// With `SA_RESTART`, no call notices a signal.
#[test]
fn restarting_signals_go_unnoticed() -> Result<()> {
    beside(&["hostile_signals", "restart", milliseconds()], &[])
}

/// Without it, an interrupted call had no effect.
#[test]
fn interrupted_calls_have_no_effect() -> Result<()> {
    beside(&["hostile_signals", "interrupt", milliseconds()], &[])
}

/// Concurrent execs, exits, vforks, clones and kills.
#[test]
fn races_of_tasks_do_no_harm() -> Result<()> {
    beside(&["hostile_tasks", if long() { "2000" } else { "150" }], &[])
}

/// The tenant's own filters take precedence over the broker's as over the kernel.
#[test]
fn a_tenant_may_install_its_own_filters() -> Result<()> {
    beside(&["hostile_filters"], &[])
}

/// A tracer that stops at every entry and exit.
#[test]
fn a_tracer_may_step_through_calls() -> Result<()> {
    beside(&["hostile_ptrace", "step"], &[])
}

/// A tracer that interrupts at any time.
#[test]
fn a_tracer_may_interrupt_calls() -> Result<()> {
    beside(&["hostile_ptrace", "interrupt"], &[])
}

/// `SIGSTOP` at any time.
#[test]
fn a_tenant_may_be_stopped_and_continued() -> Result<()> {
    beside(&["hostile_ptrace", "stop"], &[])
}

/// A tenant that is frozen in the middle of its calls for many deadlines loses none of them.
#[test]
fn a_frozen_tenant_loses_no_calls() -> Result<()> {
    let Some(group) = Group::new("freezer", "frozen") else {
        println!("this machine has no freezer");
        return Ok(());
    };
    let mut quiet = Quiet::start()?;
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let words = [client("survivor")?, control.path().to_path_buf()];
    let run = Run::new(words).trace("kcov,getppid,read,dup").option("--deadline").option("500ms");
    let mut running = run.start_in(session)?;
    running.reach(&control, READY, 1)?;
    let helpers = running.session.own_processes();
    let tenant: Vec<_> =
        running.session.processes().into_iter().filter(|one| !helpers.contains(one)).collect();
    tenant.iter().try_for_each(|process| group.take(process.0))?;
    for _ in 0..if long() { 20 } else { 2 } {
        let rounds = control.get(ROUNDS)?;
        running.reach(&control, ROUNDS, rounds + 20)?;
        quiet.assert_works()?;
        group.freeze(true)?;
        sleep(Duration::from_millis(200));
        let frozen = control.get(ROUNDS)?;
        sleep(Duration::from_secs(2));
        assert_eq!(control.get(ROUNDS)?, frozen, "rounds while frozen");
        group.freeze(false)?;
    }
    let rounds = control.get(ROUNDS)?;
    running.reach(&control, ROUNDS, rounds + 100)?;
    control.set(GO, 1)?;
    let outcome = running.finish()?;
    assert_eq!(
        (control.get(EIOS)?, control.get(WRONGS)?),
        (0, 0),
        "lost calls, wrong results:\n{}",
        outcome.stderr
    );
    outcome.assert_sound()?;
    quiet.assert_undisturbed()
}
