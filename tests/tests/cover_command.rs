//! `kcov-broker cover`: as `run`, and what was covered stays, whoever covered it and whatever became of its area.

use anyhow::{Context, Result, ensure};
use kcov_tests::binaries::example;
use kcov_tests::coverage::Coverage;
use kcov_tests::{Outcome, Run, Session, client, library};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Calls that no other code of these commands makes, and their names.
const GETSID: (&str, i64) = ("getsid", libc::SYS_getsid);
const GETPRIORITY: (&str, i64) = ("getpriority", libc::SYS_getpriority);
const SCHEDULER: (&str, i64) = ("sched_getscheduler", libc::SYS_sched_getscheduler);
const ALL: [(&str, i64); 3] = [GETSID, GETPRIORITY, SCHEDULER];

/// A covered run, with the reports in a folder that stays.
struct Covered {
    outcome: Outcome,
    folder: tempfile::TempDir,
}

impl Covered {
    fn run(run: Run) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let run = run.covered().option("--json").option(&path("json"));
        let run = run.option("--lcov").option(&path("lcov")).option("--html").option(&path("html"));
        Ok(Covered { outcome: run.output()?, folder })
    }

    fn text(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.folder.path().join(name)).with_context(|| name.to_owned())
    }

    fn coverage(&self) -> Result<Coverage> {
        serde_json::from_str(&self.text("json")?).with_context(|| self.outcome.stderr.clone())
    }

    /// Which of [`ALL`] were covered.
    fn calls(&self) -> Result<Vec<&'static str>> {
        let coverage = self.coverage()?;
        let reached = coverage.reached();
        Ok(ALL.iter().map(|(name, _)| *name).filter(|name| reached.contains(name)).collect())
    }
}

/// Clients of all calls, by bash: a word a thing to do, `|` between clients that run at the same time.
fn clients(script: &str) -> Result<Run> {
    let program = client("cover_calls")?;
    let mut script = script.to_owned();
    for (name, number) in ALL {
        script = script.replace(name, &number.to_string());
    }
    let parts = script.split('|').map(|words| format!("{} {words} & P=\"$P $!\"\n", program.display()));
    let commands: String = parts.collect();
    Ok(Run::bash(&format!("{commands} for p in $P; do wait $p || exit 1; done")).trace("all"))
}

#[test]
fn all_clients_count() -> Result<()> {
    let covered = Covered::run(clients("pc:512 getsid|getpriority|cmp:512 sched_getscheduler")?)?;
    covered.outcome.assert_sound()?;
    assert_eq!(covered.calls()?, ["getsid", "getpriority", "sched_getscheduler"]);
    let alone = Covered::run(clients("pc:512 getsid")?)?;
    assert_eq!(alone.calls()?, ["getsid"], "what was not called is not covered");
    Ok(())
}

#[test]
fn what_a_reset_or_a_full_area_loses_is_covered() -> Result<()> {
    let covered =
        Covered::run(clients("pc:512 getsid reset getpriority reset disable|pc:2 sched_getscheduler")?)?;
    let report = covered.outcome.assert_sound()?;
    assert!(report.records_lost > 0, "{report:?}");
    assert_eq!(covered.calls()?, ["getsid", "getpriority", "sched_getscheduler"]);
    let counts: Vec<u64> = covered.outcome.stdout.lines().map(str::parse).collect::<Result<_, _>>()?;
    assert!(counts.len() == 2 && counts.iter().all(|count| *count > 0), "recorded as ever: {counts:?}");
    Ok(())
}

#[test]
fn what_a_worker_covered_outlives_it() -> Result<()> {
    let probe = library("probe")?;
    let run = clients("getsid crash pc:512 getpriority crash sched_getscheduler")?;
    // The worker's own code, which is reported beside a library only if it is asked for.
    let run = run.option("--handler").option(&probe.to_string_lossy()).option("--include").option("*");
    let covered = Covered::run(run)?;
    assert_eq!(covered.outcome.code(), 0, "{}", covered.outcome.stderr);
    assert!(covered.outcome.report()?.worker_crashes >= 2);
    assert_eq!(covered.calls()?, ["getsid", "getpriority", "sched_getscheduler"]);
    Ok(())
}

const ADDER: &str = "import fcntl, os, sys\n\
    fd = os.open('/dev/adder', os.O_RDWR)\n\
    fcntl.ioctl(fd, 0x7001, 40)\n\
    print('added')\n\
    sys.exit(7)\n";

#[test]
fn handlers_are_covered_by_function_and_line() -> Result<()> {
    let worker = example("adder")?;
    let run = Run::new(["python3", "-c", ADDER]).option("--worker").option(&worker.to_string_lossy());
    let covered = Covered::run(run)?;
    assert_eq!(covered.outcome.code(), 7, "the command's own: {}", covered.outcome.stderr);
    assert_eq!(covered.outcome.stdout, "added\n", "standard output is the command's");
    let coverage = covered.coverage()?;
    let [file] = &coverage.files[..] else { anyhow::bail!("the handler alone: {coverage:?}") };
    assert!(file.path.ends_with("/worker/examples/adder.rs") && Path::new(&file.path).is_file());
    let source = fs::read_to_string(&file.path)?;
    let edges = (1..).zip(source.lines()).filter(|(_, line)| line.contains("kcov_edge!()"));
    let expected: Vec<(u32, bool)> = edges.map(|(line, _)| line).zip([true, false, true, true]).collect();
    let found: Vec<_> = file.lines.iter().map(|(line, points)| (*line, points.covered > 0)).collect();
    assert_eq!(found, expected, "open, the sum, and twice the addition");
    assert!(covered.outcome.stderr.contains("covered: 3 of 4 (75%) points"), "{}", covered.outcome.stderr);
    let page = covered.text("html")?;
    assert!(page.contains("fn add(&amp;mut self, more: u64)"), "the source stands in the page");
    Ok(())
}

#[test]
fn genhtml_takes_the_tracefile() -> Result<()> {
    let worker = example("adder")?;
    let run = Run::new(["python3", "-c", ADDER]).option("--worker").option(&worker.to_string_lossy());
    let covered = Covered::run(run)?;
    let folder = covered.folder.path();
    let genhtml = Command::new("genhtml")
        .arg(folder.join("lcov"))
        .args(["--branch-coverage", "--output-directory"])
        .arg(folder.join("pages"))
        .output()
        .context("genhtml, of the package lcov")?;
    let said = String::from_utf8_lossy(&genhtml.stdout) + String::from_utf8_lossy(&genhtml.stderr);
    ensure!(genhtml.status.success(), "genhtml: {said}");
    assert!(!said.to_lowercase().contains("warning") && !said.contains("ERROR"), "{said}");
    assert!(said.contains("3 of 4 lines"), "{said}");
    assert!(said.contains("2 of 3 functions"), "{said}");
    Ok(())
}

#[test]
fn a_handler_without_points_is_said_to_have_none() -> Result<()> {
    let faults = library("faults")?.to_string_lossy().into_owned();
    let outcome = Run::new(["true"]).option("--handler").option(&faults).covered().output()?;
    let said = format!("{faults} has no coverage points: compile it with -fsanitize-coverage=");
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("calls.rs"), "{}", outcome.stderr);
    Ok(())
}

#[test]
fn statuses_pass_through() -> Result<()> {
    let status = |command: &[&str]| -> Result<(i32, bool)> {
        let covered = Covered::run(Run::new(command.iter().copied()))?;
        Ok((covered.outcome.code(), covered.text("json")?.is_empty()))
    };
    assert_eq!(status(&["true"])?, (0, false));
    assert_eq!(status(&["sh", "-c", "kill -TERM $$"])?, (128 + libc::SIGTERM, false));
    assert_eq!(status(&["/nonexistent"])?, (127, true), "nothing ran, and nothing is said of it");
    assert_eq!(status(&["/etc/passwd"])?, (126, true));
    Ok(())
}

#[test]
fn the_map_does_not_leak_into_the_command() -> Result<()> {
    let descriptors = Run::new(["ls", "-l", "/proc/self/fd"]).covered().option("--no-summary").output()?;
    descriptors.assert_sound()?;
    assert!(!descriptors.stdout.contains("memfd"), "{}", descriptors.stdout);
    assert_eq!(descriptors.stderr, "");
    Ok(())
}

#[test]
fn files_that_cannot_be_written_are_said_before_anything_runs() -> Result<()> {
    let session = Session::new()?;
    let mut command = session.command(session.path("kcov-broker"));
    let output = command.args(["cover", "--lcov", "/nonexistent/lcov", "--", "echo", "started"]).output()?;
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write /nonexistent/lcov: No such file"), "{said}");
    assert!(output.stdout.is_empty());
    Ok(())
}
