//! A worker that dies or stops harms nobody: callers get their result or EIO, and the next worker serves on.

use anyhow::Result;
use kcov_tests::event::Event;
use kcov_tests::process::Process;
use kcov_tests::{Control, Outcome, Run, Running, Session, client, library, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const GO: u64 = 0;
const READY: u64 = 1;
const FACTS: u64 = 2;
const KILLS: usize = 50;
/// The traced calls. No futex: the C library aborts on EIO from a futex.
const TRACED: &str = "kcov,getppid,read,dup";
/// The calls that the client makes and that are traced.
const CALLS: [&str; 6] = ["getppid", "read", "dup", "openat", "ioctl", "mmap"];
const EIO: u64 = libc::EIO.unsigned_abs() as u64;
/// Far above any deadline: a call that takes this long was lost.
const FORGOTTEN_MS: u64 = 20_000;

fn start(name: &str, arguments: &[&str], options: &[&str]) -> Result<(Running, Control)> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let program = client(name)?;
    let words = [program.as_os_str(), control.path().as_os_str()].into_iter();
    let mut run = Run::new(words.chain(arguments.iter().map(AsRef::as_ref))).trace(TRACED).logged();
    for option in options {
        run = run.option(option);
    }
    let mut running = run.start_in(session)?;
    running.reach(&control, READY, 1)?;
    Ok((running, control))
}

fn one_named(running: &Running, name: &str) -> Result<Process> {
    until(&format!("a process {name}"), WITHIN, || running.session.named(name).first().copied())
}

fn send(process: Process, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(process.0), signal)?)
}

fn crashes(outcome: &Outcome) -> Vec<Event> {
    outcome.events().into_iter().filter(|event| event.name() == "worker_crash").collect()
}

#[track_caller]
fn assert_killed(event: &Event) {
    let signal = event.field("signal").unwrap_or_default();
    assert!(["9", "SIGKILL"].contains(&signal.as_str()), "signal of {event:?}");
}

/// Kills a worker once the client has made progress since the last kill. Returns the worker's pid.
fn kill_one(running: &mut Running, control: &Control, round: usize) -> Result<Process> {
    let rounds = control.get(FACTS)?;
    running.reach(control, FACTS, rounds + 1)?;
    // Spreads the kills over the steps of a call.
    sleep(Duration::from_micros(500 + 137 * (round as u64 % 29)));
    loop {
        let worker = one_named(running, "kcov-worker")?;
        if send(worker, Signal::SIGKILL).is_ok() {
            return Ok(worker);
        }
    }
}

/// 50 workers are killed during the calls of four threads. Each result is right or EIO, a call that gave EIO
/// had no effect, no call hangs, nothing leaks, and the log names signal and call.
#[test]
fn killed_workers_are_replaced() -> Result<()> {
    let (mut running, control) = start("survivor", &[], &[])?;
    let mut killed = BTreeSet::new();
    for round in 0..KILLS {
        killed.insert(kill_one(&mut running, &control, round)?);
    }
    let outcome = assert_serves_on(running, &control)?;
    let report = outcome.report()?;
    // The broker does not know a worker yet that is killed right after its fork.
    let lost = outcome.events().into_iter().filter(|event| event.name() == "worker_lost").count();
    let ends = report.worker_crashes + lost as u64;
    assert!(ends >= killed.len() as u64, "{} killed, {lost} early: {report:?}", killed.len());
    let crashes = crashes(&outcome);
    assert_eq!(crashes.len() as u64, report.worker_crashes);
    crashes.iter().for_each(assert_killed);
    let calls: Vec<_> =
        crashes.iter().filter_map(|event| event.field("call")).filter(|call| call != "none").collect();
    println!("{} EIO, {} of {} crashes within a call", control.get(FACTS + 1)?, calls.len(), crashes.len());
    assert!(!calls.is_empty(), "no crash names its call");
    assert!(calls.iter().all(|call| CALLS.contains(&call.as_str())), "{calls:?}");
    Ok(())
}

/// A worker that is stopped keeps its caller no longer than the deadline: the call gets EIO if the worker had
/// received it, or the result from the next worker. Later calls are served.
#[test]
fn a_stopped_worker_delays_its_caller_by_one_deadline() -> Result<()> {
    let (mut running, control) = start("one_call", &["3"], &["--deadline", "500ms"])?;
    control.set(GO, 1)?;
    running.reach(&control, READY, 2)?;
    assert_eq!(control.get(FACTS)?, 0, "errno of a call before the stop");

    let worker = one_named(&running, "kcov-worker")?;
    send(worker, Signal::SIGSTOP)?;
    control.set(GO, 2)?;
    running.reach(&control, READY, 3)?;
    let errno = control.get(FACTS)?;
    assert!([0, EIO].contains(&errno), "errno {errno} of the call");
    let took = control.get(FACTS + 1)?;
    assert!(took < FORGOTTEN_MS, "the call took {took} ms");

    control.set(GO, 3)?;
    running.reach(&control, READY, 4)?;
    assert_eq!(control.get(FACTS)?, 0, "errno of a call after the replacement");
    let outcome = running.finish()?;
    let report = outcome.report()?;
    assert_eq!(report.worker_crashes, 1, "{report:?}");
    let crashes = crashes(&outcome);
    assert_eq!(crashes.len(), 1, "{}", outcome.stderr);
    assert_killed(&crashes[0]);
    Ok(())
}

/// Lets the client finish, and asserts that it saw no wrong result and that nothing is left.
fn assert_serves_on(mut running: Running, control: &Control) -> Result<Outcome> {
    let rounds = control.get(FACTS)?;
    running.reach(control, FACTS, rounds + 100)?;
    control.set(GO, 1)?;
    let outcome = running.finish()?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert_eq!(control.get(FACTS + 2)?, 0, "wrong results:\n{}", outcome.stderr);
    let slowest = control.get(FACTS + 3)?;
    assert!(slowest < FORGOTTEN_MS, "a call took {slowest} ms");
    assert_eq!(control.get(FACTS + 4)?, 0, "descriptors left over in the client");
    outcome.report()?.assert_nothing_left();
    Ok(outcome)
}

/// When the zygote is killed, the command and its calls go on, and a new zygote forks the next worker.
#[test]
fn a_killed_zygote_is_replaced() -> Result<()> {
    let (mut running, control) = start("survivor", &[], &[])?;
    send(one_named(&running, "kcov-zygote")?, Signal::SIGKILL)?;
    for round in 0..3 {
        kill_one(&mut running, &control, round)?;
    }
    assert_serves_on(running, &control)?;
    Ok(())
}

/// A zygote's workers end with it, and their calls in flight are answered at once.
#[test]
fn killing_the_zygote_during_a_call_fails_only_that_call() -> Result<()> {
    let program = client("faults")?;
    let words = [program.as_os_str(), "7111".as_ref(), "7100:5".as_ref()];
    let handler = library("faults")?;
    let run = Run::new(words).option("--handler").option(&handler.to_string_lossy());
    let running = run.option("--deadline").option("60s").start()?;
    let sleeps = |worker: &Process| {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", worker.0)).unwrap_or_default();
        call.starts_with(&format!("{} ", libc::SYS_clock_nanosleep))
    };
    until("a call in flight", WITHIN, || running.session.named("kcov-worker").into_iter().find(sleeps))?;
    send(one_named(&running, "kcov-zygote")?, Signal::SIGKILL)?;
    let outcome = running.finish()?;
    assert_eq!(outcome.stdout, "7111 -5 1\n7100 5 0\n", "{}", outcome.stderr);
    let report = outcome.report()?;
    report.assert_nothing_left();
    assert_eq!((report.worker_crashes, report.zygote_restarts), (1, 1));
    Ok(())
}

/// When the reader is killed, the command and its calls go on.
#[test]
fn a_killed_reader_is_replaced() -> Result<()> {
    let (mut running, control) = start("survivor", &[], &[])?;
    for _ in 0..5 {
        send(one_named(&running, "kcov-reader")?, Signal::SIGKILL)?;
        let rounds = control.get(FACTS)?;
        running.reach(&control, FACTS, rounds + 10)?;
    }
    assert_serves_on(running, &control)?;
    Ok(())
}

/// A reader that hangs, as on memory or a path of a malicious tenant, delays its caller by one deadline.
#[test]
fn a_stopped_reader_is_replaced() -> Result<()> {
    let (running, control) = start("survivor", &[], &["--deadline", "500ms"])?;
    send(one_named(&running, "kcov-reader")?, Signal::SIGSTOP)?;
    assert_serves_on(running, &control)?;
    Ok(())
}
