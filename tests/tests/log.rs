//! The log tells an operator what happened, in which thread, and to which instance.

use anyhow::Result;
use kcov_tests::event::Event;
use kcov_tests::{Outcome, Run, client};
use std::collections::BTreeSet;

/// The client that makes one traced call in each life.
const TRACED: &str = "getppid";

fn names(outcome: &Outcome) -> BTreeSet<String> {
    outcome.events().iter().map(|event| event.name().to_owned()).collect()
}

#[track_caller]
fn assert_names(outcome: &Outcome, expected: &[&str]) {
    let found = names(outcome);
    for name in expected {
        assert!(found.contains(*name), "no event {name} among {found:?}");
    }
}

/// One line says that a client collects nothing, if none of its calls is traced.
#[test]
fn a_client_that_collects_nothing_gets_a_hint() -> Result<()> {
    for (profile, prints, hints) in [("kcov", "none\n", 1), ("read", "records\n", 0), ("all", "records\n", 0)]
    {
        let outcome = Run::new([client("collect_read")?]).trace(profile).logged().output()?;
        assert_eq!(outcome.stdout, prints, "{profile}");
        let found = outcome.events().iter().filter(|event| event.name() == "nothing_collected").count();
        assert_eq!(found, hints, "{profile}: {}", outcome.stderr);
    }
    Ok(())
}

/// One life of an instance, in order, with thread and command.
#[test]
fn the_life_of_an_instance_is_logged() -> Result<()> {
    let words = [client("life_cycle")?.into_os_string(), "1".into()];
    let outcome = Run::new(words).trace(TRACED).logged().option("-vv").output()?;
    assert_names(&outcome, &["open", "ioctl", "enable", "disable"]);
    let events = outcome.events();
    let position = |name: &str| events.iter().position(|event| event.name() == name);
    assert!(position("open") < position("enable") && position("enable") < position("disable"));
    for event in events.iter().filter(|event| ["open", "enable", "disable"].contains(&event.name())) {
        assert!(event.field("id").is_some(), "{event:?}");
        assert!(
            event.field("tid").is_some_and(|tid| tid.parse::<u32>().is_ok_and(|tid| tid > 0)),
            "{event:?}"
        );
        let command = match event.name() {
            "enable" => "ENABLE",
            "disable" => "DISABLE",
            _ => "INIT_TRACE",
        };
        assert_eq!(event.field("command").as_deref(), Some(command), "{event:?}");
    }
    let enable = events.iter().find(|event| event.name() == "enable");
    assert_eq!(enable.and_then(|event| event.field("mode")).as_deref(), Some("pc"));
    Ok(())
}

/// The exit of an owner that did not disable.
#[test]
fn the_exit_of_an_owner_is_logged() -> Result<()> {
    let words = [client("abandon")?.into_os_string(), "1".into()];
    let outcome = Run::new(words).logged().option("-vv").output()?;
    assert_names(&outcome, &["open", "owner_exit"]);
    Ok(())
}

/// An exec by a non-leader thread, which takes over the leader's tid.
#[test]
fn an_exec_that_changes_the_owners_tid_is_logged() -> Result<()> {
    let words = [client("kcov_conformance")?.into_os_string(), "-g".into(), "exec".into()];
    let outcome = Run::new(words).trace("every").logged().option("-vv").output()?;
    assert_names(&outcome, &["exec_rebind"]);
    Ok(())
}

/// Without `-v`, a run without problems logs nothing.
#[test]
fn a_run_without_problems_logs_nothing() -> Result<()> {
    let words = [client("life_cycle")?.into_os_string(), "3".into()];
    for run in [Run::new(words.clone()), Run::new(words).logged()] {
        assert_eq!(run.trace(TRACED).output()?.stderr, "");
    }
    Ok(())
}

/// The text format is for people: one line an event, not JSON.
#[test]
fn the_text_format_is_not_json() -> Result<()> {
    let words = [client("life_cycle")?.into_os_string(), "1".into()];
    let outcome = Run::new(words).trace(TRACED).option("-vv").output()?;
    assert!(outcome.stderr.contains("enable"), "{}", outcome.stderr);
    assert!(outcome.stderr.lines().all(|line| Event::parse(line).is_none()), "{}", outcome.stderr);
    Ok(())
}

/// Programs that handle signals may break where calls are traced that never return `EINTR`: one line says so. None is
/// due where only interruptible calls are traced.
#[test]
fn a_process_that_handles_signals_is_warned_of_once() -> Result<()> {
    // The shell's own handlers; what runs in between is shorter than the broker's look at its workers.
    let script = "trap : CHLD USR1; for i in 1 2 3 4 5 6 7 8; do sleep 0.1; done";
    for (profile, lines) in [("every", 1), ("all", 0)] {
        let outcome = Run::new(["bash", "-c", script]).trace(profile).logged().output()?;
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        let events = outcome.events();
        let count = events.iter().filter(|event| event.name() == "interruptible").count();
        assert_eq!(count, lines, "under {profile}: {}", outcome.stderr);
    }
    Ok(())
}
