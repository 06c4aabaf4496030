//! Transcripts of the conformance program: lines `group.point: result`.

use crate::Outcome;
use crate::binaries::workspace;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// Results by point.
pub type Transcript = BTreeMap<String, String>;

/// Groups that need a driver in a real kernel.
const KERNEL_ONLY: [&str; 2] = ["vhost.", "usb."];
/// The group that needs the test device of remote sections.
const TEST_DEVICE: &str = "rt.";

/// A file of `tests/conformance`.
///
/// # Errors
/// If it cannot be read.
pub fn recorded(name: &str) -> Result<String> {
    let path = workspace().join("tests/conformance").join(name);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Checks that random operations printed the kernel's output, byte for byte, and left nothing.
///
/// # Errors
/// With the first difference.
pub fn check_operations(outcome: &Outcome, transcript: &str) -> Result<()> {
    if let Some(difference) = first_difference(&recorded(transcript)?, &outcome.stdout) {
        bail!("{transcript} differs at {difference}\n{}", outcome.stderr);
    }
    outcome.assert_sound().map(drop)
}

/// Checks that the points equal those of the kernel, but for those that may differ, and that nothing is left.
///
/// # Errors
/// With all differences.
pub fn check_points(outcome: &Outcome, kernel: &Transcript, may_differ: &BTreeSet<String>) -> Result<()> {
    let differences = differences(kernel, &parse(&outcome.stdout)?, may_differ);
    ensure!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    outcome.assert_sound().map(drop)
}

/// Parses a transcript.
///
/// # Errors
/// For a line that is not a point, and for a duplicate point.
pub fn parse(text: &str) -> Result<Transcript> {
    let mut points = Transcript::new();
    for line in text.lines() {
        let (name, result) = line.split_once(": ").with_context(|| format!("not a point: {line}"))?;
        if points.insert(name.to_owned(), result.to_owned()).is_some() {
            bail!("point {name} is there twice");
        }
    }
    Ok(points)
}

/// The kernel's transcript, without the groups that need a driver and the one that needs the test device.
///
/// # Errors
/// As [`parse`].
pub fn kernel(text: &str) -> Result<Transcript> {
    let mut points = kernel_with_test_device(text)?;
    points.retain(|name, _| !name.starts_with(TEST_DEVICE));
    Ok(points)
}

/// The kernel's transcript, without the groups that need a driver.
///
/// # Errors
/// As [`parse`].
pub fn kernel_with_test_device(text: &str) -> Result<Transcript> {
    let mut points = parse(text)?;
    points.retain(|name, _| !KERNEL_ONLY.iter().any(|group| name.starts_with(group)));
    Ok(points)
}

/// Names of the points that may differ: lines `NAME<tab>REASON`; `#` starts a comment.
///
/// # Errors
/// For a name without a reason.
pub fn deviations(text: &str) -> Result<BTreeSet<String>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.split_once('\t').with_context(|| format!("no reason: {line}"))?;
            if reason.trim().is_empty() {
                bail!("no reason: {line}");
            }
            Ok(name.to_owned())
        })
        .collect()
}

/// Differences from the kernel's transcript, one line a point. A point that may differ must still be present.
#[must_use]
pub fn differences(kernel: &Transcript, ours: &Transcript, may_differ: &BTreeSet<String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, expected) in kernel {
        match ours.get(name) {
            None => lines.push(format!("{name}: missing, the kernel says {expected}")),
            Some(_) if may_differ.contains(name) => {}
            Some(found) if found == "skip" => lines.push(format!("{name}: skipped")),
            Some(found) if found != expected => {
                lines.push(format!("{name}: {found}, the kernel says {expected}"));
            }
            Some(_) => {}
        }
    }
    let extra = ours.iter().filter(|(name, _)| !kernel.contains_key(*name) && !may_differ.contains(*name));
    lines.extend(extra.map(|(name, found)| format!("{name}: {found}, not in the kernel's transcript")));
    lines
}

/// Points that may differ but do not, and can be removed from the list.
#[must_use]
pub fn needless_deviations<'a>(
    kernel: &Transcript,
    ours: &Transcript,
    may_differ: &'a BTreeSet<String>,
) -> Vec<&'a str> {
    let equal = |name: &&String| kernel.get(*name).is_some_and(|expected| ours.get(*name) == Some(expected));
    may_differ.iter().filter(equal).map(String::as_str).collect()
}

/// The first lines in which two texts differ.
#[must_use]
pub fn first_difference(expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let mut lines = expected.lines().zip(found.lines()).enumerate();
    let Some((number, (expected, found))) = lines.find(|(_, (expected, found))| expected != found) else {
        return Some(format!("{} lines, expected {}", found.lines().count(), expected.lines().count()));
    };
    Some(format!("line {}:\n  expected {expected}\n  found    {found}", number + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Transcript {
        parse(text).unwrap()
    }

    #[test]
    fn wrong_missing_extra_and_skipped_points_are_differences() {
        let kernel = points("a.equal: ok\na.wrong: ok\na.missing: ok\na.skipped: ok\na.free: ok\n");
        let ours = points("a.equal: ok\na.wrong: EIO\na.skipped: skip\na.free: EIO\na.extra: ok\n");
        let found = differences(&kernel, &ours, &BTreeSet::from(["a.free".to_owned()]));
        let names: Vec<_> = found.iter().filter_map(|line| line.split(':').next()).collect();
        assert_eq!(names, ["a.missing", "a.skipped", "a.wrong", "a.extra"]);
    }

    #[test]
    fn a_point_that_may_differ_must_be_present() {
        let found = differences(&points("a.free: ok\n"), &points(""), &BTreeSet::from(["a.free".to_owned()]));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn groups_that_need_a_kernel_driver_are_left_out() {
        let kernel = kernel("rt.x: ok\nusb.x: ok\nvhost.x: ok\nremote.x: ok\n").unwrap();
        assert_eq!(kernel.into_keys().collect::<Vec<_>>(), ["remote.x"]);
        let kernel = kernel_with_test_device("rt.x: ok\nusb.x: ok\n").unwrap();
        assert_eq!(kernel.into_keys().collect::<Vec<_>>(), ["rt.x"]);
    }

    #[test]
    fn a_truncated_text_differs() {
        assert!(first_difference("a\nb\n", "a\n").is_some());
        assert!(first_difference("a\nb\n", "a\nb\n").is_none());
    }

    #[test]
    fn a_deviation_needs_a_reason() {
        assert!(deviations("a.point\n").is_err());
        assert_eq!(deviations("# comment\na.point\tbecause\n").unwrap().len(), 1);
    }
}
