//! A call during which a worker died is handled again if its handler is idempotent, and otherwise not.

use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::{Outcome, Run, binaries, client, library, until};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Kinds of calls of the handler.
const ONCE: &str = "40";
const EVER: &str = "41";
const READ: &str = "42";
const WRITE: &str = "43";
const HANG: &str = "45";
const TWO: &str = "46";
const KILL: &str = "47";

const EIO: i64 = -(libc::EIO as i64);
const LONG: [&str; 2] = ["--deadline", "20s"];
const WITHIN: Duration = Duration::from_secs(60);

/// Runs the client, which makes `calls` of the handler with this configuration.
fn run(config: &str, calls: &[&str], options: &[&str]) -> Result<Run> {
    let program = client("retry")?;
    let handler = format!("{}{config}", library("retry")?.display());
    let words = [program.as_os_str()].into_iter().chain(calls.iter().map(AsRef::as_ref));
    let run = Run::new(words).logged().option("-v").option("--handler").option(&handler);
    Ok(options.iter().fold(run, |run, option| run.option(option)))
}

#[track_caller]
fn assert_results(outcome: &Outcome, expected: &[(&str, i64, u32)]) {
    let expected: String =
        expected.iter().map(|(call, result, after)| format!("{call}: {result} after {after}\n")).collect();
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
}

/// Calls that were handled again, according to the log.
fn retries(outcome: &Outcome) -> Vec<String> {
    let retries = outcome.events().into_iter().filter(|event| event.name() == "retry");
    retries.filter_map(|event| event.field("call")).collect()
}

#[test]
fn a_call_of_an_idempotent_handler_is_retried_once() -> Result<()> {
    let outcome = run("", &[ONCE, READ, EVER, WRITE, ONCE], &LONG)?.output()?;
    let expected = [(ONCE, 2, 2), (READ, 4711, 2), (EVER, EIO, 2), (WRITE, EIO, 1), (ONCE, 2, 2)];
    assert_results(&outcome, &expected);
    assert_eq!(retries(&outcome), ["getpriority"; 4]);
    let report = outcome.report()?;
    report.assert_nothing_left();
    assert_eq!((report.worker_crashes, report.retries), (6, 4));
    Ok(())
}

#[test]
fn other_calls_are_not_retried() -> Result<()> {
    for config in [":once", ":short"] {
        let outcome = run(config, &[ONCE, READ], &LONG)?.output()?;
        assert_results(&outcome, &[(ONCE, EIO, 1), (READ, EIO, 1)]);
        assert_eq!(outcome.report()?.retries, 0, "{config}");
    }
    Ok(())
}

/// A call that hangs in its first or second attempt gets its answer at the deadline, and the next call is
/// served.
#[test]
fn a_call_that_hangs_is_answered_after_one_deadline() -> Result<()> {
    let outcome = run("", &[HANG, TWO, "44"], &["--deadline", "2s"])?.output()?;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines.first(), Some(&"45: -5 after 1"), "{}", outcome.stderr);
    // On a busy machine there may be no time left for the second attempt.
    assert!(["46: -5 after 2", "46: -5 after 1"].contains(&lines[1]), "{lines:?}");
    assert_eq!(lines.len(), 3, "{lines:?}");
    outcome.report()?.assert_nothing_left();
    Ok(())
}

/// A worker that something other than the broker killed does not fail the call.
#[test]
fn killing_the_worker_does_not_fail_a_retried_call() -> Result<()> {
    let running = run("", &[KILL, KILL], &LONG)?.start()?;
    // Workers only compute this long during a call of this kind.
    let spins = |worker: &Process| cpu_ticks(*worker) > Some(10);
    let busy = || running.session.named("kcov-worker").into_iter().find(spins);
    kill(Pid::from_raw(until("a call in flight", WITHIN, busy)?.0), Signal::SIGKILL)?;
    let outcome = running.finish()?;
    assert_results(&outcome, &[(KILL, 2, 2), (KILL, 3, 3)]);
    assert_eq!((outcome.report()?.worker_crashes, outcome.report()?.retries), (1, 1));
    Ok(())
}

/// Time that a process spent in user space.
fn cpu_ticks(process: Process) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.0)).ok()?;
    // Field 14 of /proc/PID/stat. Field 2, in parentheses, may contain blanks.
    stat.rsplit(')').next()?.split_whitespace().nth(11)?.parse().ok()
}

/// The crash of the first attempt leaves an artifact that replays, although the caller never saw the crash.
#[test]
fn the_first_crash_leaves_its_artifact() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let artifacts = directory.path().join("artifacts");
    // Not the worker of the session, which is removed with the run: the replay needs it afterwards.
    let worker = binaries::directory()?.join("kcov-worker");
    let run = run("", &[ONCE], &LONG)?.option("--worker").option(&worker.to_string_lossy());
    let outcome = run.option("--artifacts").option(&artifacts.to_string_lossy()).output()?;
    assert_results(&outcome, &[(ONCE, 2, 2)]);
    let kept = fs::read_dir(&artifacts)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    let name = kept.file_name().context("a name")?.to_string_lossy();
    assert!(name.starts_with("SIGABRT-"), "{name}");
    let replay = Command::new(binaries::directory()?.join("kcov-broker")).arg("replay").arg(kept).output()?;
    let stdout = String::from_utf8_lossy(&replay.stdout);
    assert!(replay.status.success() && stdout.contains("\nreproduced: "), "{stdout}");
    Ok(())
}

#[test]
fn an_unknown_handler_flag_is_refused() -> Result<()> {
    let outcome = run(":unknown", &[ONCE], &[])?.output()?;
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (125, ""), "{}", outcome.stderr);
    let expected = "its flags 0x80000000 are of a later kcov_handler.h";
    assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    Ok(())
}
