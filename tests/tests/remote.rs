//! Remote sections behave as the kernel's do: a handler plays the test device behind the kernel's transcripts.

use anyhow::Result;
use kcov_tests::binaries::example;
use kcov_tests::transcript::{check_operations, check_points, deviations, kernel_with_test_device, recorded};
use kcov_tests::{Outcome, Run, client, library};
use std::time::Duration;

/// Each group of points stops by itself after one minute.
const WITHIN: Duration = Duration::from_secs(600);
/// Operations in each of the kernel's transcripts.
const OPERATIONS: &str = "2000";
/// Operations of seeds without a transcript.
const MANY_OPERATIONS: &str = "10000";
/// A point that needs the test device.
const COMMON_HANDLE: &str = "exec.remote.common_handle";

fn with_test_device(program: &str, arguments: &[&str], rules: &str) -> Result<Run> {
    let program = client(program)?;
    let command = [program.to_str().unwrap_or_default()].into_iter().chain(arguments.iter().copied());
    let handler = library("kcov_rt")?;
    let run = Run::new(command).trace("every").option("--kcov-rules").option(rules).within(WITHIN);
    Ok(run.option("--handler").option(handler.to_str().unwrap_or_default()))
}

fn assert_points(change: fn(Run) -> Run, skipped: &[&str]) -> Result<()> {
    let run = with_test_device("kcov_conformance", &["-x", "vhost,usb", "/dev/kcov"], "6.12")?;
    let outcome = change(run).output()?;
    let kernel = kernel_with_test_device(&recorded("kernel-transcript.txt")?)?;
    let mut may_differ = deviations(&recorded("deviations.txt")?)?;
    may_differ.remove(COMMON_HANDLE);
    may_differ.extend(skipped.iter().map(ToString::to_string));
    check_points(&outcome, &kernel, &may_differ)
}

fn stress(seed: &str, operations: &str, rules: &str) -> Result<Outcome> {
    let arguments = ["--ops", operations, "--seed", seed, "--rules", rules, "/dev/kcov"];
    with_test_device("kcov_remote_stress", &arguments, rules)?.output()
}

fn assert_stress(seed: &str, transcript: &str, rules: &str) -> Result<()> {
    let outcome = stress(seed, OPERATIONS, rules)?;
    check_operations(&outcome, &format!("{transcript}-remote-stress-{seed}.txt"))
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

/// The same by the rule of Linux 7.2.
#[test]
fn random_operations_equal_those_of_linux_7_2() -> Result<()> {
    assert_stress("1", "rules72", "7.2")?;
    assert_stress("2", "rules72", "7.2")
}

/// Operations for which there is no kernel transcript end, leak nothing and violate none of the program's own
/// checks, which it marks with `!`.
#[test]
fn random_operations_of_other_seeds_are_sound() -> Result<()> {
    for (seed, rules) in [("7", "6.12"), ("12345", "7.2")] {
        let outcome = stress(seed, MANY_OPERATIONS, rules)?;
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
