//! Coverage of a call: PCs lie where clients expect them, are the same in every run, and have a place in a
//! source file.

use anyhow::{Context, Result};
use kcov_tests::{Run, Session, client};
use std::io::Write;
use std::process::Stdio;

/// Clients drop a call with a PC outside the kernel's text.
const TEXT: std::ops::Range<u64> = 0xffff_ffff_8000_0000..0xffff_ffff_ff00_0000;
/// Low bits of a PC that clients' filters ignore.
const FILTERED: u64 = 7;

fn example() -> Result<Vec<String>> {
    let outcome = Run::new([client("kcov_example")?]).trace("every").output()?;
    outcome.assert_sound()?;
    Ok(outcome.stdout.lines().map(str::to_owned).collect())
}

fn number(hexadecimal: &str) -> Result<u64> {
    let digits = hexadecimal.strip_prefix("0x").with_context(|| format!("not hexadecimal: {hexadecimal}"))?;
    Ok(u64::from_str_radix(digits, 16)?)
}

/// Standard output of `kcov-broker symbolize`, which does not need root, with `input` on standard input.
fn symbolize(arguments: &[&str], input: &str) -> Result<String> {
    let session = Session::new()?;
    let mut line = session.command(session.path("kcov-broker"));
    line.arg("symbolize").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = line.spawn()?;
    child.stdin.take().context("standard input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    assert!(output.status.success(), "{line:?}: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The example of the kernel's documentation covers some points. Their PCs lie in the kernel's text and are
/// far enough apart for clients' filters.
#[test]
fn the_example_covers_kernel_addresses() -> Result<()> {
    let lines = example()?;
    assert!(!lines.is_empty(), "nothing covered");
    let mut pcs = lines.iter().map(|line| number(line)).collect::<Result<Vec<_>>>()?;
    assert!(pcs.iter().all(|pc| TEXT.contains(pc)), "{lines:?}");
    pcs.sort_unstable();
    pcs.dedup();
    let places = pcs.len();
    pcs.dedup_by_key(|pc| *pc | FILTERED);
    assert_eq!(pcs.len(), places, "two points are equal to a filter: {lines:?}");
    Ok(())
}

/// The same call covers the same points in the same order in every run.
#[test]
fn pcs_are_the_same_in_every_run() -> Result<()> {
    let first = example()?;
    for _ in 0..2 {
        assert_eq!(example()?, first);
    }
    Ok(())
}

/// Comparisons are the same too. Their types are valid, and some operands differ.
#[test]
fn comparisons_are_the_same_in_every_run() -> Result<()> {
    let trace = || -> Result<String> {
        let outcome = Run::new([client("cmp_trace")?]).trace("every").output()?;
        outcome.assert_sound()?;
        Ok(outcome.stdout)
    };
    let first = trace()?;
    for _ in 0..2 {
        assert_eq!(trace()?, first);
    }
    let mut telling = 0;
    for line in first.lines() {
        let [kind, left, right, pc] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("{line}")
        };
        assert!(kind.parse::<u64>()? <= 7, "type of {line}");
        assert!(TEXT.contains(&number(pc)?), "pc of {line}");
        let (left, right) = (number(left)?, number(right)?);
        telling += usize::from(left != right && (left, right) != (0, 0));
    }
    assert!(telling > 0, "no comparison with operands that differ:\n{first}");
    Ok(())
}

/// Each PC has a function, a file and a line, whether it is an argument or read from standard input.
#[test]
fn every_pc_has_a_function_file_and_line() -> Result<()> {
    let pcs = example()?;
    let by_input = symbolize(&[], &(pcs.join("\n") + "\n"))?;
    let by_argument = symbolize(&pcs.iter().map(String::as_str).collect::<Vec<_>>(), "")?;
    assert_eq!(by_input, by_argument);
    assert_eq!(by_input.lines().count(), pcs.len(), "{by_input}");
    for (pc, line) in pcs.iter().zip(by_input.lines()) {
        assert!(line.contains(pc.as_str()), "{pc} in {line}");
        let place = line.split_whitespace().find_map(|word| word.rsplit_once(".rs:"));
        let (_, number) = place.with_context(|| format!("no file and line: {line}"))?;
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        assert!(digits.parse::<u32>().is_ok_and(|line| line > 0), "no line: {line}");
    }
    Ok(())
}

/// The same as JSON: one value with the function, file and line of each PC.
#[test]
fn symbolize_prints_places_as_json() -> Result<()> {
    let pcs = example()?;
    let text = symbolize(&["--json"], &(pcs.join("\n") + "\n"))?;
    let values: Vec<serde_json::Value> = match serde_json::from_str(&text) {
        Ok(serde_json::Value::Array(values)) => values,
        _ => text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?,
    };
    assert_eq!(values.len(), pcs.len(), "{text}");
    for (pc, value) in pcs.iter().zip(&values) {
        assert_eq!(value["pc"].as_str(), Some(pc.as_str()), "{value}");
        let value = &value["location"];
        assert!(value["function"].as_str().is_some_and(|name| !name.is_empty()), "{value}");
        assert!(value["file"].as_str().is_some_and(|name| !name.is_empty()), "{value}");
        assert!(value["line"].as_u64().is_some_and(|line| line > 0), "{value}");
    }
    Ok(())
}
