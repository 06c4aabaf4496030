//! The device behaves as the kernel's: the conformance program's transcript against the kernel's own.

use anyhow::Result;
use kcov_tests::binaries::workspace;
use kcov_tests::transcript::{Transcript, deviations, differences, first_difference, kernel, met, parse};
use kcov_tests::{Outcome, Run, client};
use std::fs;
use std::time::Duration;

/// Each of the 13 groups ends itself after a minute.
const WITHIN: Duration = Duration::from_secs(600);
/// Of the kernel's transcripts.
const OPERATIONS: &str = "3000";
/// A race that is lost once in five is not lost in so many with a probability of one in ten thousand.
const EXECS: usize = 40;

fn recorded(name: &str) -> Result<String> {
    Ok(fs::read_to_string(workspace().join("tests/conformance").join(name))?)
}

fn conformance(arguments: &[&str]) -> Result<Outcome> {
    let program = client("kcov_conformance")?;
    let command = [program.to_str().unwrap_or_default()].into_iter().chain(arguments.iter().copied());
    Run::new(command).trace("all").within(WITHIN).output()
}

fn stress(seed: &str, workload: &str) -> Result<Outcome> {
    conformance(&["-w", workload, "--stress", OPERATIONS, "--seed", seed])
}

#[track_caller]
fn assert_points(arguments: &[&str]) -> Result<()> {
    let outcome = conformance(&[&["-x", "rt,vhost,usb"], arguments].concat())?;
    let kernel = kernel(&recorded("kernel-transcript.txt")?)?;
    let may_differ = deviations(&recorded("deviations.txt")?)?;
    let ours = parse(&outcome.stdout)?;
    let differences = differences(&kernel, &ours, &may_differ);
    println!("{} points, {} may differ", kernel.len(), may_differ.len());
    println!("may differ and do not: {}", met(&kernel, &ours, &may_differ).join(" "));
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    outcome.assert_sound()?;
    Ok(())
}

#[track_caller]
fn assert_stress(seed: &str) -> Result<()> {
    let outcome = stress(seed, "1")?;
    let expected = recorded(&format!("kernel-stress-{seed}.txt"))?;
    if let Some(difference) = first_difference(&expected, &outcome.stdout) {
        panic!("seed {seed} differs from the kernel at {difference}\n{}", outcome.stderr);
    }
    outcome.assert_sound()?;
    Ok(())
}

/// Every point that the list of deviations does not name is the kernel's.
#[test]
fn every_point_is_the_kernels() -> Result<()> {
    assert_points(&[])
}

/// The device at its other path is the same device.
#[test]
fn every_point_is_the_kernels_at_dev_kcov() -> Result<()> {
    assert_points(&["/dev/kcov"])
}

/// Exec by a thread that is not the leader races with its own threads' ends: it is followed every time.
#[test]
fn every_exec_is_followed() -> Result<()> {
    let of_exec = |points: Transcript| -> Transcript {
        points.into_iter().filter(|(name, _)| name.starts_with("exec.")).collect()
    };
    let kernel = of_exec(kernel(&recorded("kernel-transcript.txt")?)?);
    let may_differ = deviations(&recorded("deviations.txt")?)?;
    for round in 0..EXECS {
        let outcome = conformance(&["-g", "exec"])?;
        let differences = differences(&kernel, &of_exec(parse(&outcome.stdout)?), &may_differ);
        assert!(differences.is_empty(), "round {round}:\n{}", differences.join("\n"));
        outcome.assert_sound()?;
    }
    Ok(())
}

/// 3,000 random operations of two threads and their children give the kernel's bytes.
#[test]
fn random_operations_of_seed_1_are_the_kernels() -> Result<()> {
    assert_stress("1")
}

/// The same with other operations.
#[test]
fn random_operations_of_seed_2_are_the_kernels() -> Result<()> {
    assert_stress("2")
}

/// Operations that were never seen on a kernel end well, and as often as they are run, alike.
#[test]
fn random_operations_of_other_seeds_end_well_and_alike() -> Result<()> {
    for seed in ["7", "12345"] {
        let (first, second) = (stress(seed, "1")?, stress(seed, "1")?);
        first.assert_sound()?;
        second.assert_sound()?;
        assert_eq!(first_difference(&first.stdout, &second.stdout), None, "seed {seed} in two runs");
    }
    Ok(())
}

/// Three calls instead of one between two observations change nothing of what a kernel shows.
#[test]
fn more_calls_between_observations_change_nothing() -> Result<()> {
    let outcome = stress("1", "3")?;
    assert_eq!(outcome.stdout.lines().count(), 3000, "{}", outcome.stderr);
    outcome.assert_sound()?;
    Ok(())
}
