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

fn storm() -> &'static str {
    if long() { "30000" } else { "1000" }
}

/// With `SA_RESTART`, no call notices a signal.
#[test]
fn a_storm_of_signals_that_restart() -> Result<()> {
    beside(&["hostile_signals", "restart", storm()], &[])
}

/// Without it, an interrupted call has done nothing.
#[test]
fn a_storm_of_signals_that_interrupt() -> Result<()> {
    beside(&["hostile_signals", "interrupt", storm()], &[])
}

/// Execs, exits, vforks, clones and deaths, all at once.
#[test]
fn races_of_tasks() -> Result<()> {
    beside(&["hostile_tasks", if long() { "2000" } else { "150" }], &[])
}

/// The tenant's own filters lie above ours as above the kernel.
#[test]
fn filters_on_top() -> Result<()> {
    beside(&["hostile_filters"], &[])
}

/// A tracer at every entry and exit.
#[test]
fn a_tracer_that_steps() -> Result<()> {
    beside(&["hostile_ptrace", "step"], &[])
}

/// A tracer that interrupts at any time.
#[test]
fn a_tracer_that_interrupts() -> Result<()> {
    beside(&["hostile_ptrace", "interrupt"], &[])
}

/// `SIGSTOP` at any time.
#[test]
fn stops_and_continuations() -> Result<()> {
    beside(&["hostile_ptrace", "stop"], &[])
}

/// A tenant that is frozen for many deadlines in the middle of its calls loses none of them.
#[test]
fn a_frozen_tenant() -> Result<()> {
    let Some(group) = Group::new("freezer", "frozen") else {
        println!("no freezer on this machine");
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
        quiet.works()?;
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
    assert_eq!((control.get(EIOS)?, control.get(WRONGS)?), (0, 0), "lost, and wrong:\n{}", outcome.stderr);
    outcome.assert_sound()?;
    quiet.assert_undisturbed()
}
