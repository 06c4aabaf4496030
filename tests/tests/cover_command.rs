//! `kcov-broker cover` runs a command as `run` does and reports what all clients covered, also after their
//! areas were reset or their workers died.

use anyhow::{Context, Result, ensure};
use kcov_tests::binaries::example;
use kcov_tests::coverage::Coverage;
use kcov_tests::{Outcome, Run, Session, client, library};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Calls that nothing else in these commands makes, with their names.
const GETSID: (&str, i64) = ("getsid", libc::SYS_getsid);
const GETPRIORITY: (&str, i64) = ("getpriority", libc::SYS_getpriority);
const SCHEDULER: (&str, i64) = ("sched_getscheduler", libc::SYS_sched_getscheduler);
const ALL: [(&str, i64); 3] = [GETSID, GETPRIORITY, SCHEDULER];

/// A run under `cover`, with its reports in a folder that outlives it.
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

/// Runs clients by bash. Each word is one action; `|` separates clients that run at the same time.
fn clients(script: &str) -> Result<Run> {
    let program = client("cover_calls")?;
    let mut script = script.to_owned();
    for (name, number) in ALL {
        script = script.replace(name, &number.to_string());
    }
    let parts = script.split('|').map(|words| format!("{} {words} & P=\"$P $!\"\n", program.display()));
    let commands: String = parts.collect();
    Ok(Run::bash(&format!("{commands} for p in $P; do wait $p || exit 1; done")).trace("every"))
}

#[test]
fn the_coverage_of_all_clients_is_merged() -> Result<()> {
    let covered = Covered::run(clients("pc:512 getsid|getpriority|cmp:512 sched_getscheduler")?)?;
    covered.outcome.assert_sound()?;
    assert_eq!(covered.calls()?, ["getsid", "getpriority", "sched_getscheduler"]);
    let alone = Covered::run(clients("pc:512 getsid")?)?;
    assert_eq!(alone.calls()?, ["getsid"], "calls that were not made are not covered");
    Ok(())
}

#[test]
fn records_lost_to_a_reset_or_a_full_area_are_covered() -> Result<()> {
    let covered =
        Covered::run(clients("pc:512 getsid reset getpriority reset disable|pc:2 sched_getscheduler")?)?;
    let report = covered.outcome.assert_sound()?;
    assert!(report.records_lost > 0, "{report:?}");
    assert_eq!(covered.calls()?, ["getsid", "getpriority", "sched_getscheduler"]);
    let counts: Vec<u64> = covered.outcome.stdout.lines().map(str::parse).collect::<Result<_, _>>()?;
    assert!(
        counts.len() == 2 && counts.iter().all(|count| *count > 0),
        "the areas still have records: {counts:?}"
    );
    Ok(())
}

#[test]
fn coverage_of_a_worker_outlives_it() -> Result<()> {
    let probe = library("probe")?;
    let run = clients("getsid crash pc:512 getpriority crash sched_getscheduler")?;
    // The code of the worker program itself, which is reported beside a library only on request.
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
    assert_eq!(covered.outcome.code(), 7, "the command's own status: {}", covered.outcome.stderr);
    assert_eq!(covered.outcome.stdout, "added\n", "standard output has only the command's output");
    let coverage = covered.coverage()?;
    let [file] = &coverage.files[..] else { anyhow::bail!("expected only the handler's file: {coverage:?}") };
    assert!(file.path.ends_with("/worker/examples/adder.rs") && Path::new(&file.path).is_file());
    let source = fs::read_to_string(&file.path)?;
    let edges = (1..).zip(source.lines()).filter(|(_, line)| line.contains("kcov_edge!()"));
    let expected: Vec<(u32, bool)> = edges.map(|(line, _)| line).zip([true, false, true, true]).collect();
    let found: Vec<_> = file.lines.iter().map(|(line, points)| (*line, points.covered > 0)).collect();
    assert_eq!(found, expected, "points by line");
    assert!(covered.outcome.stderr.contains("covered: 3 of 4 (75%) points"), "{}", covered.outcome.stderr);
    let page = covered.text("html")?;
    assert!(page.contains("fn add(&amp;mut self, more: u64)"), "the page shows the source");
    Ok(())
}

#[test]
fn genhtml_accepts_the_tracefile() -> Result<()> {
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
fn a_handler_without_coverage_points_is_reported() -> Result<()> {
    let faults = library("faults")?.to_string_lossy().into_owned();
    let outcome = Run::new(["true"]).option("--handler").option(&faults).covered().output()?;
    let said = format!("{faults} has no coverage points: compile it with -fsanitize-coverage=");
    assert!(outcome.stderr.contains(&said), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("calls.rs"), "{}", outcome.stderr);
    Ok(())
}

#[test]
fn exit_statuses_are_passed_on() -> Result<()> {
    let status = |command: &[&str]| -> Result<(i32, bool)> {
        let covered = Covered::run(Run::new(command.iter().copied()))?;
        Ok((covered.outcome.code(), covered.text("json")?.is_empty()))
    };
    assert_eq!(status(&["true"])?, (0, false));
    assert_eq!(status(&["sh", "-c", "kill -TERM $$"])?, (128 + libc::SIGTERM, false));
    assert_eq!(status(&["/nonexistent"])?, (127, true), "nothing ran, so there is no report");
    assert_eq!(status(&["/etc/passwd"])?, (126, true));
    Ok(())
}

#[test]
fn the_command_does_not_inherit_the_coverage_map() -> Result<()> {
    let descriptors = Run::new(["ls", "-l", "/proc/self/fd"]).covered().option("--no-summary").output()?;
    descriptors.assert_sound()?;
    assert!(!descriptors.stdout.contains("memfd"), "{}", descriptors.stdout);
    assert_eq!(descriptors.stderr, "");
    Ok(())
}

#[test]
fn unwritable_report_files_are_refused_before_the_command_runs() -> Result<()> {
    let session = Session::new()?;
    let mut command = session.command(session.path("kcov-broker"));
    let output = command.args(["cover", "--lcov", "/nonexistent/lcov", "--", "echo", "started"]).output()?;
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write /nonexistent/lcov: /nonexistent: No such file"), "{said}");
    assert!(output.stdout.is_empty());
    Ok(())
}
