//! A request over a quota is refused, counted by quota, and logged with the quota's name, its bound, and the
//! option that raises it.

use anyhow::{Context, Result};
use kcov_tests::event::Event;
use kcov_tests::{Outcome, Run, client, library};

/// Runs a client that asks for too much, with one quota set low.
fn exhaust(words: &[&str], option: &str, bound: &str) -> Result<Outcome> {
    let program = client("hostile_exhaust")?.into_os_string();
    let run = Run::new([program].into_iter().chain(words.iter().map(Into::into)));
    run.trace("kcov,getppid").option(option).option(bound).logged().output()
}

/// Asserts that only this quota refused something, and that the log has one line for each refusal.
#[track_caller]
fn assert_reported(outcome: &Outcome, what: &str, option: &str, bound: &str) -> Result<()> {
    let report = outcome.assert_sound()?;
    let times = report.quota_refusals_by_quota[what];
    assert!(times > 0, "{report:?}");
    assert_eq!(report.quota_refusals, times, "{report:?}");
    let lines: Vec<Event> = outcome.events().into_iter().filter(|event| event.name() == "quota").collect();
    let field = |line: &Event, name| line.field(name).unwrap_or_default();
    for line in &lines {
        let [what_of, option_of, bound_of] = ["what", "option", "bound"].map(|name| field(line, name));
        assert_eq!((&*what_of, &*option_of, &*bound_of), (what, option, bound));
        assert_eq!(field(line, "errno"), "ENOMEM");
    }
    assert_eq!(lines.iter().map(|line| line.number("times")).sum::<u64>(), times, "{}", outcome.stderr);
    Ok(())
}

#[test]
fn each_refusal_is_counted_and_logged() -> Result<()> {
    for (words, what, option, bound) in [
        (&["area"][..], "area", "--max-area", "1048576"),
        (&["total", "1024", "9"], "total", "--max-total", "65536"),
        (&["opens", "60", "50"], "instances", "--max-instances", "50"),
        (&["handles", "12"], "handles", "--max-handles", "12"),
    ] {
        assert_reported(&exhaust(words, option, bound)?, what, option, bound).context(what)?;
    }
    Ok(())
}

/// Handlers access the memory of their callers too often, too much at once, or with a quota of zero. The
/// handler gets an error, and has a new allowance some time later. The device itself keeps working.
#[test]
fn handler_memory_access_is_limited_by_quota() -> Result<()> {
    let library = library("probe")?.display().to_string();
    let (rate, bytes) = (("assist_rate", "--max-assist-rate"), ("assist_bytes", "--max-assist-bytes"));
    for ((what, option), bound, shown) in [
        (rate, "3", "large 0\nat last -12\nlater 0\n"),
        (bytes, "64", "large -12\nat last -12\nlater 0\n"),
        (rate, "0", "large -12\nat last -12\nlater -12\n"),
    ] {
        let run = Run::new([client("handler_probe")?.into_os_string(), "assists".into()]);
        let run = run.option("--handler").option(&library).option(option).option(bound);
        let outcome = run.logged().output()?;
        assert_eq!(outcome.stdout, shown, "{option} {bound}");
        assert_reported(&outcome, what, option, bound).context(option)?;
    }
    Ok(())
}

/// A tenant cannot fill the log with refusals.
#[test]
fn many_refusals_give_few_log_lines() -> Result<()> {
    let outcome = exhaust(&["opens", "2000", "50"], "--max-instances", "50")?;
    let report = outcome.assert_sound()?;
    assert!(report.quota_refusals >= 1950, "{report:?}");
    let lines = outcome.events().into_iter().filter(|event| event.name() == "quota").count();
    // The first, the last, and a few in between on a slow machine.
    assert!((1..50).contains(&lines), "{lines}");
    Ok(())
}
