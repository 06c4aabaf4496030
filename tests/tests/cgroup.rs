//! The control group of the workers: they are in it, its bounds take effect, and it is removed with the
//! tenant.

use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::{Control, Run, Session, client, library, until};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
const GO: u64 = 0;
const READY: u64 = 1;
/// Byte limit of the workers in these runs; areas have the same limit on top.
const MEMORY: u64 = 64 << 20;
const OPTIONS: [&str; 6] = ["--cgroup", "own", "--worker-memory", "64M", "--max-total", "64M"];

/// Returns whether control groups can be created on this machine, according to `kcov-broker doctor`.
fn available() -> Result<bool> {
    let program = kcov_tests::binaries::directory()?.join("kcov-broker");
    let output = Command::new(program).args(["doctor", "--json"]).output()?;
    let diagnosis: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let findings = diagnosis["findings"].as_array().context("findings")?;
    let finding = findings.iter().find(|finding| finding["check"] == "control groups");
    let found = finding.context("no finding about control groups")?["found"].as_str().unwrap_or_default();
    Ok(found.starts_with("can be made"))
}

/// Runs `command` with a control group. Where none can be created, asserts that the run says so.
fn grouped(command: Run) -> Result<Option<Run>> {
    let run = OPTIONS.iter().fold(command, |run, option| run.option(option));
    if available()? {
        return Ok(Some(run));
    }
    let outcome = run.output()?;
    assert_eq!(outcome.code(), 125, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("delegate") || outcome.stderr.contains("controller"),
        "{}",
        outcome.stderr
    );
    Ok(None)
}

/// The directories of the process's control group, for the controllers in question.
fn groups(process: Process) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", process.0))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mut groups = Vec::new();
    for line in text.lines().filter(|line| line.contains("/kcov-")) {
        let (_, rest) = line.split_once(':').context("a hierarchy")?;
        let (controllers, path) = rest.split_once(':').context("controllers")?;
        let holds = |mount: &&str| match controllers {
            "" => mount.contains(" - cgroup2 "),
            one => mount.contains(" - cgroup ") && mount.ends_with(&format!(",{one}")),
        };
        let mount = mounts.lines().find(holds).context("a mount")?.split(' ').nth(4).context("its place")?;
        groups.push(PathBuf::from(format!("{mount}{path}")));
    }
    Ok(groups)
}

/// The number in whichever of these files exists.
fn number(groups: &[PathBuf], names: &[&str]) -> Option<u64> {
    let files = groups.iter().flat_map(|group| names.iter().map(move |name| group.join(name)));
    files.filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| text.trim().parse().ok())
}

#[test]
fn workers_are_in_a_bounded_group_that_is_removed_with_the_tenant() -> Result<()> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let command = Run::new([client("hold")?, control.path().to_path_buf()]);
    let Some(run) = grouped(command)? else { return Ok(()) };
    let mut running = run.start_in(session)?;
    running.reach(&control, READY, 1)?;
    let named = |name: &str| until(name, WITHIN, || running.session.named(name).first().copied());
    let of_the_zygote = groups(named("kcov-zygote")?)?;
    assert!(!of_the_zygote.is_empty());
    assert_eq!(groups(named("kcov-worker")?)?, of_the_zygote);
    for outside in ["kcov-broker", "kcov-tender", "kcov-reader"] {
        assert_eq!(groups(named(outside)?)?, Vec::<PathBuf>::new(), "{outside}");
    }
    assert_eq!(groups(running.front())?, Vec::<PathBuf>::new());
    assert_eq!(number(&of_the_zygote, &["memory.max", "memory.limit_in_bytes"]), Some(2 * MEMORY));
    assert_eq!(number(&of_the_zygote, &["pids.max"]), Some(64));
    control.set(GO, 1)?;
    running.finish()?.assert_sound()?;
    assert!(of_the_zygote.iter().all(|group| !group.exists()), "{of_the_zygote:?}");
    Ok(())
}

#[test]
fn a_worker_over_its_memory_limit_fails_only_its_own_call() -> Result<()> {
    let script = "import ctypes\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        for _ in range(2):\n    print(libc.getpriority(0, 0), ctypes.get_errno())\n";
    let handler = library("glutton")?;
    let command = Run::new(["python3", "-c", script]).option("--handler").option(&handler.to_string_lossy());
    let Some(run) = grouped(command)? else { return Ok(()) };
    let outcome = run.output()?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let eio = format!("-1 {}", libc::EIO);
    assert_eq!(outcome.stdout.lines().collect::<Vec<_>>(), [&eio, &eio], "{}", outcome.stderr);
    assert_eq!(outcome.report()?.worker_crashes, 2);
    Ok(())
}

#[test]
fn a_missing_parent_group_is_named() -> Result<()> {
    let outcome = Run::new(["true"]).option("--cgroup").option("/not/there").output()?;
    assert_eq!(outcome.code(), 125);
    assert!(outcome.stderr.contains("there is no control group /not/there"), "{}", outcome.stderr);
    Ok(())
}
