//! Tests of the harness itself, on which the other tests rely.

use anyhow::Result;
use kcov_tests::event::Event;
use kcov_tests::process::Process;
use kcov_tests::terminal::Terminal;
use kcov_tests::{Control, Run, Session, until};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

/// A run that hangs is ended with everything that it started, also in other sessions and process groups, and
/// the error says what each process was doing.
#[test]
fn a_run_that_hangs_is_ended_with_all_its_processes() -> Result<()> {
    let script = "sleep 1000 & setsid sleep 1000 & echo started; wait";
    let mut running = Run::bash(script).bare().within(Duration::from_millis(500)).start()?;
    let error = format!("{:#}", running.wait().expect_err("the run never ends"));
    let processes = running.session.processes();
    drop(running);
    assert!(error.contains("sleep"), "{error}");
    assert_eq!(processes.len(), 3, "bash and two sleeps");
    let gone = || processes.iter().all(|process| process.executable().is_none()).then_some(());
    until("the processes to end", WITHIN, gone)
}

/// Concurrent sessions do not mistake each other's processes for their own.
#[test]
fn concurrent_sessions_see_only_their_own_processes() -> Result<()> {
    let sleep = || Run::new(["sleep", "1000"]).bare().start();
    let (one, other) = (sleep()?, sleep()?);
    let seen = |running: &kcov_tests::Running| running.session.processes();
    until("both", WITHIN, || (seen(&one).len() == 1 && seen(&other).len() == 1).then_some(()))?;
    assert_ne!(seen(&one), seen(&other));
    Ok(())
}

/// Dropping a terminal ends the programs on it.
#[test]
fn dropping_a_terminal_ends_its_programs() -> Result<()> {
    let mut terminal = Terminal::start(Session::new()?, &["bash", "-c", "sleep 1000 & echo started; wait"])?;
    terminal.expect("started")?;
    let processes = terminal.session.processes();
    assert!(!processes.is_empty());
    drop(terminal);
    until("the processes to end", WITHIN, || {
        processes.iter().all(|one| one.executable().is_none()).then_some(())
    })
}

/// A word reads back as written, and an index outside the page is an error.
#[test]
fn control_words_read_back_as_written() -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    control.set(3, u64::MAX)?;
    assert_eq!((control.get(2)?, control.get(3)?, control.get(4)?), (0, u64::MAX, 0));
    assert!(control.get(512).is_err() && control.set(512, 1).is_err());
    Ok(())
}

/// Waiting for a client ends when the client has ended.
#[test]
fn waiting_for_a_client_stops_when_it_ends() -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let mut running = Run::bash("echo reason >&2; exit 4").bare().start_in(session)?;
    let error = format!("{:#}", running.reach(&control, 0, 1).expect_err("nobody sets the word"));
    assert!(error.contains("reason") && error.contains("exit status: 4"), "{error}");
    Ok(())
}

/// Limits, status and descriptors are parsed as the kernel writes them.
#[test]
fn proc_files_of_a_process_are_parsed() -> Result<()> {
    let running = Run::bash("ulimit -n 100; ulimit -f 7; echo set; exec sleep 1000").bare().start()?;
    until("the limits", WITHIN, || running.stdout().contains("set").then_some(()))?;
    let process = running.front();
    let limits = process.limits().unwrap_or_default();
    assert_eq!(limits.get("Max open files").map(String::as_str), Some("100"));
    assert!(limits.contains_key("Max file size") && limits.contains_key("Max core file size"), "{limits:?}");
    assert_eq!(process.parent(), Some(Process(std::process::id().cast_signed())));
    let descriptors = process.descriptors().unwrap_or_default();
    for stream in ["stdin", "stdout", "stderr"] {
        assert!(descriptors.contains(&running.session.path(stream)), "{stream} in {descriptors:?}");
    }
    Ok(())
}

/// Events are found nested and flat, and between other lines.
#[test]
fn events_are_found_among_other_lines() {
    let log = "text\n{\"level\":\"INFO\",\"fields\":{\"event\":\"open\",\"id\":3,\"errno\":null}}\n\
               {\"event\":\"disable\",\"command\":\"a.out\"}\n{\"other\":1}\n[1]\n";
    let events = Event::all(log);
    let names: Vec<_> = events.iter().map(Event::name).collect();
    assert_eq!(names, ["open", "disable"]);
    assert_eq!(events[0].field("id").as_deref(), Some("3"));
    assert_eq!(events[0].field("errno"), None);
    assert_eq!(events[1].field("command").as_deref(), Some("a.out"));
}
