//! The device behaves like the kernel's: the transcript of the conformance program is compared with the
//! kernel's.

use anyhow::Result;
use kcov_tests::transcript::{
    Transcript, check_operations, check_points, deviations, differences, first_difference, kernel,
    needless_deviations, parse, recorded,
};
use kcov_tests::{Outcome, Run, client};
use std::time::Duration;

/// Each of the 13 groups stops by itself after one minute.
const WITHIN: Duration = Duration::from_secs(600);
/// Operations in each of the kernel's transcripts.
const OPERATIONS: &str = "3000";
/// Rounds. A race lost once in five rounds goes unseen in this many with a probability of 1 in 10,000.
const EXECS: usize = 40;

fn conformance(arguments: &[&str]) -> Result<Outcome> {
    let program = client("kcov_conformance")?;
    let command = [program.to_str().unwrap_or_default()].into_iter().chain(arguments.iter().copied());
    // The transcripts are of Linux 6.12.
    let rules = ["--kcov-rules", "6.12"];
    rules.into_iter().fold(Run::new(command).trace("every"), Run::option).within(WITHIN).output()
}

fn stress(seed: &str, workload: &str) -> Result<Outcome> {
    conformance(&["-w", workload, "--stress", OPERATIONS, "--seed", seed])
}

fn assert_points(arguments: &[&str]) -> Result<()> {
    let outcome = conformance(&[&["-x", "rt,vhost,usb"], arguments].concat())?;
    let kernel = kernel(&recorded("kernel-transcript.txt")?)?;
    let may_differ = deviations(&recorded("deviations.txt")?)?;
    let ours = parse(&outcome.stdout)?;
    println!("{} points, {} may differ", kernel.len(), may_differ.len());
    println!("may differ but do not: {}", needless_deviations(&kernel, &ours, &may_differ).join(" "));
    check_points(&outcome, &kernel, &may_differ)
}

fn assert_stress(seed: &str) -> Result<()> {
    check_operations(&stress(seed, "1")?, &format!("kernel-stress-{seed}.txt"))
}

/// Every point that `deviations.txt` does not name equals the kernel's.
#[test]
fn every_point_equals_the_kernels() -> Result<()> {
    assert_points(&[])
}

/// The device behaves the same under its second path.
#[test]
fn every_point_equals_the_kernels_at_dev_kcov() -> Result<()> {
    assert_points(&["/dev/kcov"])
}

/// An exec by a non-leader thread races with the exits of the other threads. The broker must handle it in
/// every round.
#[test]
fn every_exec_by_a_non_leader_is_handled() -> Result<()> {
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

/// 3,000 random operations of two threads and their children give the kernel's output, byte for byte.
#[test]
fn random_operations_of_seed_1_equal_the_kernels() -> Result<()> {
    assert_stress("1")
}

/// The same with other operations.
#[test]
fn random_operations_of_seed_2_equal_the_kernels() -> Result<()> {
    assert_stress("2")
}

/// Operations for which there is no kernel transcript succeed, and two runs give the same output.
#[test]
fn random_operations_of_other_seeds_are_reproducible() -> Result<()> {
    for seed in ["7", "12345"] {
        let (first, second) = (stress(seed, "1")?, stress(seed, "1")?);
        first.assert_sound()?;
        second.assert_sound()?;
        assert_eq!(first_difference(&first.stdout, &second.stdout), None, "seed {seed} in two runs");
    }
    Ok(())
}

/// Three calls between two observations, instead of one, change nothing that a kernel shows.
#[test]
fn more_calls_between_observations_change_nothing() -> Result<()> {
    let outcome = stress("1", "3")?;
    assert_eq!(outcome.stdout.lines().count(), 3000, "{}", outcome.stderr);
    outcome.assert_sound()?;
    Ok(())
}
