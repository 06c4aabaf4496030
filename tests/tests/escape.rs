//! A compromised handler tries every known way out of its jail. None works, and its tenant goes on.

#[path = "escape/attempts.rs"]
mod attempts;

use anyhow::{Context, Result};
use attempts::{ATTEMPTS, Outcome};
use kcov_tests::binaries::workspace;
use kcov_tests::event::Event;
use kcov_tests::process::Process;
use kcov_tests::{Control, Run, Running, Session, client, library, ordinary, until};
use std::ffi::OsString;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const GO: u64 = 0;
const READY: u64 = 1;
/// Attempts in one run. The workers that die of them are replaced one after the other.
const AT_ONCE: usize = 24;
/// Long for an immediate answer on a busy machine; short for an attempt that only ends at its deadline.
const DEADLINES: [&str; 2] = ["30s", "2s"];
/// The last attempt of a run. When a worker serves it, the end of the worker before it is in the log.
const NOTHING: &str = "nothing";

/// Who runs the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Root,
    User,
}

impl Owner {
    fn session(self) -> Result<Session> {
        if self == Owner::User { ordinary::session() } else { Session::new() }
    }

    fn run(self, session: &Session, options: &[&str], command: &[OsString]) -> Result<Run> {
        match self {
            Owner::User => ordinary::run(session, options, command),
            Owner::Root => Ok(options.iter().fold(Run::new(command), |run, option| run.option(option))),
        }
    }
}

/// A neighbour tenant with a device in use.
fn neighbour(owner: Owner) -> Result<(Running, Control, Process)> {
    let session = owner.session()?;
    let control = Control::new(session.path("control"))?;
    ordinary::own(control.path())?;
    let program = client("hold")?;
    let command = [program.clone().into_os_string(), control.path().as_os_str().to_owned()];
    let mut running = owner.run(&session, &[], &command)?.start_in(session)?;
    running.reach(&control, READY, 1)?;
    let is_command = |process: &Process| process.executable().as_ref() == Some(&program);
    let command = until("the neighbour's command", WITHIN, || {
        running.session.processes().into_iter().find(is_command)
    })?;
    Ok((running, control, command))
}

/// Makes these attempts and compares their outcomes with the table.
fn attempt(owner: Owner, neighbour: Process, attempts: &[(&str, Outcome)]) -> Result<()> {
    let names = attempts.iter().map(|(name, _)| OsString::from(name)).chain([NOTHING.into()]);
    let command = [client("escape")?.into_os_string(), neighbour.0.to_string().into()];
    let command: Vec<OsString> = command.into_iter().chain(names).collect();
    let handler = library("escape")?;
    let handler = handler.to_str().context("a path in UTF-8")?;
    let deadline = DEADLINES[usize::from(attempts.iter().any(|(_, outcome)| outcome.is_slow()))];
    let options = ["--log-format", "json", "--deadline", deadline, "--handler", handler];
    let session = owner.session()?;
    let outcome = owner.run(&session, &options, &command)?.start_in(session)?.finish()?;
    assert_eq!(outcome.code(), 0, "{}\n{}", outcome.stdout, outcome.stderr);

    let rootless = owner == Owner::User;
    let values = attempts.iter().map(|(name, outcome)| format!("{name}: {}", outcome.value(rootless)));
    let values: Vec<String> = values.chain([format!("{NOTHING}: 0")]).collect();
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), values, "{}", outcome.stderr);

    let events = outcome.events();
    let mut ends = events.iter().filter(|event| event.name() == "worker_crash");
    for (name, outcome) in attempts {
        if let Some((signal, reasons)) = outcome.end() {
            let end = ends.next().with_context(|| format!("{name}: no worker died"))?;
            assert_end(owner, name, end, signal, &reasons);
        }
    }
    assert!(ends.next().is_none(), "one more worker died:\n{}", outcome.stderr);
    Ok(())
}

#[track_caller]
fn assert_end(owner: Owner, name: &str, end: &Event, signal: i32, reasons: &[&str]) {
    let seen = end.field("signal").unwrap_or_else(|| "0".to_owned());
    // An ordinary user cannot read the exit status of a process that it may not trace, unless it asks late
    // enough.
    let untold = owner == Owner::User && seen == "0";
    assert!(untold || seen == signal.to_string(), "{name}: by {seen}, not {signal}: {end:?}");
    let reason = end.field("reason").unwrap_or_default();
    assert!(reasons.is_empty() || reasons.contains(&reason.as_str()), "{name}: {reason}");
}

fn assert_no_escape(owner: Owner) -> Result<()> {
    let (running, control, process) = neighbour(owner)?;
    let (held, run_urgently): (Vec<_>, Vec<_>) =
        ATTEMPTS.iter().copied().partition(|(_, outcome)| outcome.is_slow());
    for attempts in run_urgently.chunks(AT_ONCE).chain([held.as_slice()]) {
        attempt(owner, process, attempts)?;
    }
    control.set(GO, 1)?;
    running.finish()?.assert_sound()?;
    Ok(())
}

#[test]
fn no_attempt_escapes_from_a_worker() -> Result<()> {
    assert_no_escape(Owner::Root)
}

#[test]
fn no_attempt_escapes_from_a_worker_of_an_ordinary_user() -> Result<()> {
    assert_no_escape(Owner::User)
}

/// The table and the C source name the same attempts in the same order.
#[test]
fn every_attempt_has_an_outcome() -> Result<()> {
    let table = std::fs::read_to_string(workspace().join("tests/handlers/escape_attempts.h"))?;
    let starts = ["CALL(\"", "ACT(\"", "{\""];
    let name = |line: &str| {
        let rest = starts.iter().find_map(|start| line.strip_prefix(start))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let names: Vec<String> = table.lines().filter_map(name).collect();
    assert_eq!(ATTEMPTS.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
    assert!(names.len() >= 60);
    Ok(())
}
