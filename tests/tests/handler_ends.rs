//! Whatever a handler does to its worker, its caller gets an answer and the next caller gets the next worker.

use anyhow::{Context, Result};
use kcov_tests::{Outcome, Run, Session, client, library, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::time::Duration;

const EIO: i32 = -libc::EIO;

fn run(asks: &[&str], options: &[&str]) -> Result<Run> {
    let words = [client("faults")?.into_os_string()].into_iter().chain(asks.iter().map(OsString::from));
    let library = library("faults")?;
    let run = Run::new(words).logged().option("--handler").option(&library.to_string_lossy());
    Ok(options.iter().fold(run, |run, option| run.option(option)))
}

fn assert_served(outcome: &Outcome, expected: &[String]) -> Result<()> {
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), expected, "{}", outcome.stderr);
    outcome.report()?.assert_nothing_left();
    Ok(())
}

#[test]
fn every_end_of_a_worker_fails_only_its_own_call() -> Result<()> {
    // Segmentation fault, abort, endless loop, stack overflow, exit, division by zero, illegal instruction,
    // bus error, forks.
    let asks = ["7101", "7102", "7103", "7104", "7105:3", "7105:0", "7108", "7109", "710a", "710b", "7111"];
    for ask in asks {
        let outcome = run(&["7100:5", ask, "7100:7"], &["--deadline", "500ms"])?.output()?;
        let asked = ask.split(':').next().unwrap_or(ask);
        assert_served(&outcome, &["7100 5 0".into(), format!("{asked} {EIO} 1"), "7100 7 0".into()])?;
        assert_eq!(outcome.report()?.worker_crashes, 1, "{ask}");
    }
    Ok(())
}

#[test]
fn a_worker_exhausts_only_its_own_resources() -> Result<()> {
    // All descriptors, all memory, and its own sockets and listener, which it closes.
    let outcome = run(&["710c", "7100:5", "710d", "7100:6", "710e", "7100:7"], &["--worker-memory", "64M"])?
        .output()?;
    let (descriptors, memory) = (-libc::EMFILE, -libc::ENOMEM);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert_eq!(lines[0], format!("710c {descriptors} 0"), "{lines:?}");
    assert_eq!(lines[2], format!("710d {memory} 0"), "{lines:?}");
    assert_eq!(lines[4], format!("710e {EIO} 1"), "{lines:?}");
    assert_eq!(lines[5], "7100 7 0", "{lines:?}");
    outcome.report()?.assert_nothing_left();
    Ok(())
}

#[test]
fn the_start_delay_grows_with_consecutive_crashes() -> Result<()> {
    let outcome = run(&["7101:8:20", "7100:7"], &["--max-restart-delay", "50ms"])?.output()?;
    assert_served(&outcome, &[format!("7101 {EIO} 32"), "7100 7 0".into()])?;
    let report = outcome.report()?;
    assert!((1..=16).contains(&report.starts_delayed), "{report:?}");
    let outcome = run(&["7101:8:4", "7100:7"], &[])?.output()?;
    assert_eq!(outcome.report()?.starts_delayed, 0);
    Ok(())
}

/// Calls that succeed between two crashes do not reset the delay.
#[test]
fn the_start_delay_grows_with_frequent_crashes() -> Result<()> {
    let asks = [&["7100:5"; 17][..], &["7101"]].concat().repeat(3);
    let options = ["--max-restart-delay", "50ms"];
    for (rate, delayed) in [("0", 3), ("1000000", 0)] {
        let outcome = run(&asks, &[&options[..], &["--max-crash-rate", rate]].concat())?.output()?;
        let report = outcome.report()?;
        assert_eq!((report.worker_crashes, report.starts_delayed), (3, delayed), "{}", outcome.stderr);
        assert!(outcome.stdout.lines().all(|line| line == "7100 5 0" || line == format!("7101 {EIO} 1")));
        let waits = outcome.events().into_iter().filter(|event| event.name() == "back_off");
        let option = waits.filter_map(|event| event.field("option")).next();
        assert_eq!(option.as_deref(), (delayed > 0).then_some("--max-crash-rate"), "{}", outcome.stderr);
    }
    Ok(())
}

/// If a later worker of such a handler serves, the run goes on; if none does, the run ends and says why.
#[test]
fn a_run_ends_if_its_workers_keep_dying_before_they_serve() -> Result<()> {
    let run = |dying: u32| {
        let handler = format!("{}:{dying}", library("early_death")?.display());
        Run::new([client("retry")?.into_os_string(), "40".into()])
            .logged()
            .option("--handler")
            .option(&handler)
            .output()
    };
    let outcome = run(5)?;
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (0, "40: 6 after 6\n"), "{}", outcome.stderr);
    let report = outcome.report()?;
    assert_eq!(report.starts_delayed, 4, "{report:?}");
    report.assert_nothing_left();
    let outcome = run(100)?;
    assert_eq!(outcome.code(), 125, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the workers die before they serve"), "{}", outcome.stderr);
    Ok(())
}

/// The same for zygotes whose handlers cannot be loaded any more.
#[test]
fn a_run_ends_if_its_zygotes_keep_dying_before_they_serve() -> Result<()> {
    let session = Session::new()?;
    let broken = session.path("broken");
    let handler = format!("{}:0:{}", library("early_death")?.display(), broken.display());
    let run = Run::new(["sleep", "1000"]).logged().option("--handler").option(&handler);
    let running = run.start_in(session)?;
    // The command runs only after the handler was loaded. Until then the zygote may still have the name of
    // its program.
    until("the command", Duration::from_secs(60), || {
        running.session.processes().into_iter().find(|process| process.name().as_deref() == Some("sleep"))
    })?;
    std::fs::write(&broken, "")?;
    let zygote = running.session.named("kcov-zygote").first().copied().context("a zygote")?;
    kill(Pid::from_raw(zygote.0), Signal::SIGKILL)?;
    let outcome = running.finish()?;
    assert_eq!(outcome.code(), 125, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("the workers die before they serve"), "{}", outcome.stderr);
    Ok(())
}
