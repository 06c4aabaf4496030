//! No call waits much longer than the deadline, whether or not a worker is free to receive it.

use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::{Control, Run, Session, client, library, until};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const GO: u64 = 0;
const READY: u64 = 1;
const FACTS: u64 = 2;
const EIO: i64 = -(libc::EIO as i64);
/// Kinds of calls of the handler `retry`: one that never returns, and one that returns at once.
const HANG: &str = "45";
const COUNT: &str = "44";

/// Calls that wait behind hanging calls fail together with them, not one deadline each. Calls that do not
/// hang get their result wherever they wait; a call that looks like one that hung is served last.
#[test]
fn calls_queued_behind_hanging_calls_wait_one_deadline() -> Result<()> {
    const DEADLINE_MS: i64 = 4000;
    const SLACK_MS: i64 = 1500;
    let program = client("queue")?;
    let words = [HANG, COUNT, HANG, HANG, HANG, COUNT];
    let handler = format!("{}:once", library("retry")?.display());
    let run = Run::new([program.as_os_str()].into_iter().chain(words.iter().map(AsRef::as_ref)));
    let run = run.logged().option("-v").option("--handler").option(&handler);
    let outcome = run.option("--deadline").option("4s").output()?;
    println!("{}", outcome.stdout);
    let mut results = Vec::new();
    for line in outcome.stdout.lines() {
        let (kind, rest) = line.split_once(": ").context("a kind")?;
        let (result, took) = rest.split_once(" in ").context("a time")?;
        results.push((kind, result.parse::<i64>()?));
        // The worker is ended at the deadline, and the last of the calls a quarter of the deadline later: 1.25
        // deadlines are the bound for every call. The rest is for a busy machine.
        assert!(took.parse::<i64>()? < DEADLINE_MS * 5 / 4 + SLACK_MS, "{line}\n{}", outcome.stderr);
    }
    let (kinds, results): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    assert_eq!(kinds, words);
    assert_eq!([results[0], results[2], results[3], results[4]], [EIO; 4]);
    assert_eq!([results[1], results[5]], [1; 2], "results of the calls behind the first hanging call");
    outcome.report()?.assert_nothing_left();
    Ok(())
}

/// A zygote that does not fork is replaced. Until then the kernel runs the calls that no handler claims.
#[test]
fn a_stopped_zygote_is_replaced() -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let program = client("one_call")?;
    let words = [program.as_os_str(), control.path().as_os_str(), "3".as_ref()];
    let run = Run::new(words).trace("kcov,getppid").logged().option("--deadline").option("500ms");
    let mut running = run.start_in(session)?;
    running.reach(&control, READY, 1)?;
    let one_named = |name: &str| until(name, WITHIN, || running.session.named(name).first().copied());
    let send = |process: Process, signal| kill(Pid::from_raw(process.0), signal);
    let zygote = one_named("kcov-zygote")?;
    send(zygote, Signal::SIGSTOP)?;
    send(one_named("kcov-worker")?, Signal::SIGKILL)?;

    control.set(GO, 1)?;
    running.reach(&control, READY, 2)?;
    assert_eq!(control.get(FACTS)?, 0, "errno of the call");

    until("another zygote", WITHIN, || {
        running.session.named("kcov-zygote").into_iter().find(|other| *other != zygote)
    })?;
    until("another worker", WITHIN, || running.session.named("kcov-worker").first().copied())?;
    control.set(GO, 2)?;
    running.reach(&control, READY, 3)?;
    assert_eq!(control.get(FACTS)?, 0, "errno of the next call");
    control.set(GO, 3)?;
    let outcome = running.finish()?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let report = outcome.report()?;
    report.assert_nothing_left();
    assert_eq!(report.zygote_restarts, 1, "{report:?}");
    Ok(())
}
