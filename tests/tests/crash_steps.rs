//! Kills each process that serves a tenant at every step of the life of a KCOV instance: at every entry into
//! and return from a system call. The client sees correct results or `EIO`, a call that gave `EIO` had no
//! effect, a traced call that no handler claims has its own result even if it leaves no record, no call hangs,
//! and the next life is complete. If nothing is left to serve the tenant, the tenant ends and none of its
//! processes is left.
//!
//! By default some of the steps are tried; with `KCOV_LONG=1`, all.

use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::steps::{Driven, Steps};
use kcov_tests::{Control, Outcome, Run, Running, Session, client, long, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

const GO: u64 = 0;
const READY: u64 = 1;
const EIOS: u64 = 2;
const WRONGS: u64 = 3;
const LATE: u64 = 4;
const SLOWEST: u64 = 5;
const LEFT_OVER: u64 = 6;
const UNRECORDED: u64 = 7;
const END: u64 = 1 << 32;

const DEADLINE: &str = "1s";
/// The most that a call may take: far above the deadline, for a busy machine.
const MOST_MS: u64 = 10_000;
const WITHIN: Duration = Duration::from_secs(30);

/// A run whose client performs one life cycle at a time.
struct Cycles {
    running: Running,
    control: Control,
    turn: u64,
}

impl Cycles {
    /// Waits for the first complete cycle: all processes are running then.
    fn start() -> Result<Self> {
        let session = Session::new()?;
        let control = Control::new(session.path("control"))?;
        // A process that left its session and its parent still belongs to the tenant.
        let script = "setsid sleep 1000 & exec \"$0\" \"$1\"";
        let words = ["bash".into(), "-c".into(), script.into(), client("cycles")?, control.path().to_owned()];
        let run = Run::new(words).trace("kcov,getppid").option("--deadline").option(DEADLINE).logged();
        let mut running = run.start_in(session)?;
        running.reach(&control, READY, 1)?;
        let mut cycles = Cycles { running, control, turn: 0 };
        until("the process that left the session", WITHIN, || cycles.detached())?;
        cycles.run_undisturbed()?;
        Ok(cycles)
    }

    /// The process that left the client's session.
    fn detached(&self) -> Option<Process> {
        let mut processes = self.running.session.processes().into_iter();
        processes.find(|process| process.name().is_some_and(|name| name == "sleep"))
    }

    /// Starts the client's next cycle.
    fn start_cycle(&mut self) -> Result<()> {
        self.turn += 1;
        self.control.set(GO, self.turn)
    }

    /// Returns whether the client has finished its cycle.
    fn is_done(&self) -> Result<bool> {
        Ok(self.control.get(READY)? > self.turn)
    }

    /// Waits until the client has finished its cycle. Returns how many calls gave EIO since the start.
    fn wait_done(&mut self) -> Result<u64> {
        self.running.reach(&self.control, READY, 1 + self.turn)?;
        self.control.get(EIOS)
    }

    /// Runs one more cycle in which nothing is killed, and asserts that no call fails and none lacks its record.
    fn run_undisturbed(&mut self) -> Result<()> {
        let before = (self.control.get(EIOS)?, self.control.get(UNRECORDED)?);
        self.start_cycle()?;
        let after = (self.wait_done()?, self.control.get(UNRECORDED)?);
        assert_eq!(after, before, "calls with EIO or without a record in a cycle in which nobody was killed");
        Ok(())
    }

    /// Returns the only process of that name.
    fn one(&self, name: &str) -> Result<Process> {
        let session = &self.running.session;
        until(&format!("one {name}"), WITHIN, || match session.named(name)[..] {
            [process] => Some(process),
            _ => None,
        })
    }

    /// Attaches to the only process of that name once it sleeps. A process that is about to end does not
    /// count.
    fn hold(&self, name: &str) -> Result<Steps> {
        until(&format!("a {name} at rest"), WITHIN, || self.one(name).and_then(Steps::attach).ok())
    }

    /// The broker: it has the name of the front, which is its parent.
    fn broker(&self) -> Result<Process> {
        let front = self.running.front();
        let named = self.running.session.named("kcov-broker").into_iter();
        named.into_iter().find(|process| process.parent() == Some(front)).context("no broker")
    }

    /// Asserts that the client saw nothing wrong so far.
    #[track_caller]
    fn assert_right(&self, when: &str) -> Result<()> {
        assert_eq!(self.control.get(WRONGS)?, 0, "wrong results {when}");
        assert_eq!(self.control.get(LATE)?, 0, "calls that gave EIO but took effect {when}");
        assert_eq!(self.control.get(LEFT_OVER)?, 0, "descriptors left over {when}");
        let slowest = self.control.get(SLOWEST)?;
        assert!(slowest < MOST_MS, "a call took {slowest} ms {when}");
        Ok(())
    }

    /// Ends the client, and asserts that nothing is left.
    fn end(self) -> Result<Outcome> {
        self.control.set(GO, END)?;
        // The client holds only the descriptors of the run.
        if let Some(process) = self.detached() {
            send(process)?;
        }
        let outcome = self.running.finish()?;
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        outcome.report()?.assert_nothing_left();
        Ok(outcome)
    }

    /// Asserts that the tenant ends and that no process of the run is left.
    fn assert_ends_completely(mut self) -> Result<i32> {
        let status = self.running.wait()?;
        let session = &self.running.session;
        let gone = || session.processes().is_empty().then_some(());
        until("all processes to end", WITHIN, gone).with_context(|| {
            let left: Vec<_> =
                session.processes().into_iter().map(|process| (process, process.name())).collect();
            format!("left: {left:?}")
        })?;
        Ok(status.code().unwrap_or(-1))
    }
}

fn send(process: Process) -> Result<()> {
    Ok(kill(Pid::from_raw(process.0), Signal::SIGKILL)?)
}

/// The steps to try, from 1 on: all, or a selection that is denser at the start.
fn steps() -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |&step| Some(step + if long() { 1 } else { 1 + step / 4 }))
}

/// Kills the process `name` at every step of a cycle, each time after `before`. Returns how many steps were
/// tried.
fn at_every_step(name: &str, mut before: impl FnMut(&mut Cycles) -> Result<()>) -> Result<(usize, u64)> {
    let mut cycles = Cycles::start()?;
    for (tried, number) in steps().enumerate() {
        let steps = cycles.hold(name)?;
        before(&mut cycles)?;
        cycles.start_cycle()?;
        let driven = steps.kill_at(number, || cycles.is_done())?;
        let when = format!("after {name} was killed at step {number} ({driven:?})");
        cycles.wait_done().with_context(|| when.clone())?;
        cycles.assert_right(&when)?;
        cycles.run_undisturbed().with_context(|| when.clone())?;
        cycles.assert_right(&when)?;
        if driven == Driven::Done {
            let eios = cycles.control.get(EIOS)?;
            cycles.end()?;
            return Ok((tried, eios));
        }
    }
    unreachable!("a cycle has an end")
}

#[test]
fn a_worker_may_die_at_every_step() -> Result<()> {
    let (tried, eios) = at_every_step("kcov-worker", |_| Ok(()))?;
    println!("worker: {tried} steps, {eios} EIO");
    assert!(tried > 5);
    Ok(())
}

#[test]
fn a_reader_may_die_at_every_step() -> Result<()> {
    let (tried, eios) = at_every_step("kcov-reader", |_| Ok(()))?;
    println!("reader: {tried} steps, {eios} EIO");
    assert!(tried > 5);
    Ok(())
}

/// The steps at which the zygote forks a new worker, for which the client waits.
#[test]
fn a_zygote_may_die_at_every_step() -> Result<()> {
    let (tried, eios) = at_every_step("kcov-zygote", |cycles| send(cycles.one("kcov-worker")?))?;
    println!("zygote: {tried} steps, {eios} EIO");
    assert!(tried > 5);
    Ok(())
}

/// Kills the process that `attach` returns at every step of a cycle. The run must end completely each time.
fn ends_at_every_step(name: &str, attach: impl Fn(&Cycles) -> Result<Steps>) -> Result<()> {
    for number in steps() {
        let mut cycles = Cycles::start()?;
        let steps = attach(&cycles)?;
        cycles.start_cycle()?;
        match steps.kill_at(number, || cycles.is_done())? {
            Driven::Killed(_) => assert_eq!(cycles.assert_ends_completely()?, 125),
            Driven::Done | Driven::Ended => {
                cycles.wait_done()?;
                cycles.assert_right("at the end")?;
                cycles.end()?;
                println!("{name}: up to {number} steps");
                return Ok(());
            }
        }
    }
    unreachable!("a cycle has an end")
}

/// Without a broker, nothing can answer the tenant's calls.
#[test]
fn the_run_ends_if_the_broker_dies_at_any_step() -> Result<()> {
    ends_at_every_step("broker", |cycles| Steps::attach(cycles.broker()?))
}

/// The steps at which the spawner starts what a new worker needs, for which the client waits. Afterwards no
/// worker can be replaced.
#[test]
fn the_run_ends_if_the_spawner_dies_at_any_step() -> Result<()> {
    ends_at_every_step("spawner", |cycles| {
        let steps = cycles.hold("kcov-spawner")?;
        send(cycles.one("kcov-worker")?)?;
        Ok(steps)
    })
}

/// Kills the process `which` while it is idle, and asserts that the run ends completely. Returns the exit
/// status.
fn without(which: impl FnOnce(&Cycles) -> Result<Process>) -> Result<i32> {
    let mut cycles = Cycles::start()?;
    send(which(&cycles)?)?;
    cycles.start_cycle()?;
    cycles.assert_ends_completely()
}

#[test]
fn a_run_ends_with_its_front() -> Result<()> {
    without(|cycles| Ok(cycles.running.front())).map(drop)
}

#[test]
fn a_run_ends_with_its_tender() -> Result<()> {
    assert_eq!(without(|cycles| cycles.one("kcov-tender"))?, 125);
    Ok(())
}

#[test]
fn a_run_ends_with_its_spawner() -> Result<()> {
    assert_eq!(without(|cycles| cycles.one("kcov-spawner"))?, 125);
    Ok(())
}

/// The same while a call is in flight.
#[test]
fn a_run_ends_with_its_spawner_during_a_call() -> Result<()> {
    let mut cycles = Cycles::start()?;
    kill(Pid::from_raw(cycles.one("kcov-worker")?.0), Signal::SIGSTOP)?;
    cycles.start_cycle()?;
    send(cycles.one("kcov-spawner")?)?;
    assert_eq!(cycles.assert_ends_completely()?, 125);
    Ok(())
}

/// Then only the broker is left to end the tenant.
#[test]
fn a_run_ends_with_its_spawner_and_tender() -> Result<()> {
    let status = without(|cycles| {
        send(cycles.one("kcov-tender")?)?;
        cycles.one("kcov-spawner")
    })?;
    assert_eq!(status, 125);
    Ok(())
}
