//! Remote sections behave as the kernel's do: a handler plays the test device behind the kernel's transcripts.

use anyhow::Result;
use kcov_tests::binaries::{example, workspace};
use kcov_tests::transcript::{deviations, differences, first_difference, kernel_with_test_device, parse};
use kcov_tests::{Outcome, Run, client, library};
use std::fs;
use std::time::Duration;

/// Each group of points stops by itself after one minute.
const WITHIN: Duration = Duration::from_secs(600);
/// Operations in each of the kernel's transcripts.
const OPERATIONS: &str = "2000";
/// Operations of seeds without a transcript.
const MANY_OPERATIONS: &str = "10000";
/// A point that needs the test device.
const COMMON_HANDLE: &str = "exec.remote.common_handle";

fn recorded(name: &str) -> Result<String> {
    Ok(fs::read_to_string(workspace().join("tests/conformance").join(name))?)
}

fn with_test_device(program: &str, arguments: &[&str]) -> Result<Run> {
    let program = client(program)?;
    let command = [program.to_str().unwrap_or_default()].into_iter().chain(arguments.iter().copied());
    let handler = library("kcov_rt")?;
    let run = Run::new(command).trace("every").within(WITHIN);
    Ok(run.option("--handler").option(handler.to_str().unwrap_or_default()))
}

#[track_caller]
fn assert_points(change: fn(Run) -> Run, skipped: &[&str]) -> Result<()> {
    let run = with_test_device("kcov_conformance", &["-x", "vhost,usb", "/dev/kcov"])?;
    let outcome = change(run).output()?;
    let kernel = kernel_with_test_device(&recorded("kernel-transcript.txt")?)?;
    let mut may_differ = deviations(&recorded("deviations.txt")?)?;
    may_differ.remove(COMMON_HANDLE);
    may_differ.extend(skipped.iter().map(ToString::to_string));
    let differences = differences(&kernel, &parse(&outcome.stdout)?, &may_differ);
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    outcome.assert_sound()?;
    Ok(())
}

fn stress(seed: &str, operations: &str, rules: &str) -> Result<Outcome> {
    let arguments = ["--ops", operations, "--seed", seed, "--rules", rules, "/dev/kcov"];
    with_test_device("kcov_remote_stress", &arguments)?.output()
}

#[track_caller]
fn assert_stress(seed: &str, transcript: &str, rules: &str) -> Result<()> {
    let outcome = stress(seed, OPERATIONS, rules)?;
    let expected = recorded(&format!("{transcript}-remote-stress-{seed}.txt"))?;
    if let Some(difference) = first_difference(&expected, &outcome.stdout) {
        panic!("seed {seed} differs from the kernel at {difference}\n{}", outcome.stderr);
    }
    outcome.assert_sound()?;
    Ok(())
}

/// Every point that `deviations.txt` does not name equals the kernel's, those of remote sections included.
#[test]
fn every_point_equals_the_kernels() -> Result<()> {
    assert_points(|run| run, &[])
}

/// The same for an ordinary user. The user namespace has no second uid for one of the points.
#[test]
fn every_point_equals_the_kernels_without_root() -> Result<()> {
    assert_points(Run::rootless, &["open.nonroot"])
}

/// 2,000 random operations of two threads and their children give the kernel's output, byte for byte.
#[test]
fn random_operations_equal_the_kernels() -> Result<()> {
    assert_stress("1", "kernel", "6.12")?;
    assert_stress("2", "kernel", "6.12")
}

/// Operations for which there is no kernel transcript end, leak nothing and violate none of the program's own
/// checks, which it marks with `!`.
#[test]
fn random_operations_of_other_seeds_are_sound() -> Result<()> {
    for seed in ["7", "12345"] {
        let outcome = stress(seed, MANY_OPERATIONS, "6.12")?;
        assert_eq!(outcome.stdout.lines().last(), Some("end"), "seed {seed}: {}", outcome.stderr);
        let faults: Vec<_> = outcome.stdout.lines().filter(|line| line.contains('!')).collect();
        assert!(faults.is_empty(), "seed {seed}: {faults:?}");
        outcome.assert_sound()?;
    }
    Ok(())
}

/// The thread that queued the work gets its coverage, whichever thread processes it, and also if no call does.
#[test]
fn the_work_of_a_queue_is_collected_by_the_thread_that_queued_it() -> Result<()> {
    let worker = example("queue")?;
    let run = Run::new([client("remote_queue")?]);
    let outcome = run.option("--worker").option(&worker.to_string_lossy()).output()?;
    assert_eq!(outcome.stdout, "0 3 4\n", "{}", outcome.stderr);
    let sections = &outcome.assert_sound()?.sections;
    assert_eq!((sections.started, sections.records, sections.lost), (3, 4, 0), "{sections:?}");
    Ok(())
}
