//! The release of a handler's file belongs to the call that closed its last descriptor: its records are in the area
//! of that thread, and a crash in it is blamed on that call.

use anyhow::{Context, Result};
use kcov_tests::{Outcome, Run, client, library};
use serde_json::Value;
use std::fs;
use std::path::Path;

fn close(what: &str, trace: &str, artifacts: Option<&Path>) -> Result<Outcome> {
    let program = client("release")?;
    let library = library("releasing")?;
    let mut run = Run::new([program.as_os_str(), what.as_ref()]).logged().trace(trace);
    run = run.option("--handler").option(&library.to_string_lossy());
    if let Some(folder) = artifacts {
        run = run.option("--artifacts").option(&folder.to_string_lossy());
    }
    run.output()
}

/// The numbers that the client printed.
fn numbers(outcome: &Outcome) -> Vec<u64> {
    outcome.stdout.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// The two closes leave a record each, and the release three.
#[test]
fn the_records_of_a_release_are_there_at_the_next_traced_call() -> Result<()> {
    for trace in ["kcov,close", "every"] {
        let outcome = close("next", trace, None)?;
        assert_eq!(numbers(&outcome).first(), Some(&5), "{trace}: {outcome:?}");
        outcome.assert_sound()?;
    }
    Ok(())
}

#[test]
fn the_records_of_a_release_come_without_another_call() -> Result<()> {
    let outcome = close("later", "kcov,close", None)?;
    assert_eq!(numbers(&outcome).first(), Some(&4), "{outcome:?}");
    let report = outcome.assert_sound()?;
    assert_eq!(report.sections.records, 3, "{report:?}");
    Ok(())
}

#[test]
fn a_close_that_is_not_the_last_leaves_its_own_record_only() -> Result<()> {
    let outcome = close("other", "kcov,close", None)?;
    assert_eq!(numbers(&outcome), [1], "{outcome:?}");
    Ok(())
}

#[test]
fn a_crash_in_a_release_is_blamed_on_the_close() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let artifacts = directory.path().join("artifacts");
    let outcome = close("crash", "kcov,close", Some(&artifacts))?;
    let [_, tid] = numbers(&outcome)[..] else { panic!("{outcome:?}") };
    let folder = fs::read_dir(&artifacts)?.next().context("an artifact")??.path();
    let artifact: Value = serde_json::from_slice(&fs::read(folder.join("artifact.json"))?)?;
    assert_eq!(artifact["call"], "the last close of /dev/releasing");
    assert_eq!(artifact["tid"], tid);
    let crash =
        outcome.events().into_iter().find(|event| event.name() == "worker_crash").context("an event")?;
    assert_eq!(crash.field("call").as_deref(), Some("close"), "{crash:?}");
    Ok(())
}
