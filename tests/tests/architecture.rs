//! The rules of the source tree: no long import cycles, rooms that are used one way, unsafe code in its folders,
//! short files and functions.

use anyhow::Result;
use kcov_tests::architecture::graph::Graph;
use kcov_tests::architecture::lines::percentile;
use kcov_tests::architecture::tree::{Package, SourceFile, packages};
use kcov_tests::binaries::workspace;
use std::collections::BTreeSet;

/// The longest cycle of files that is allowed: a module and two helpers that share its types.
const LONGEST_CYCLE: usize = 3;

fn product() -> Result<Vec<Package>> {
    packages(workspace(), &["broker", "worker", "proto"])
}

#[test]
fn import_cycles_have_at_most_three_files() -> Result<()> {
    let mut failures = String::new();
    for package in product()? {
        let graph = package.uses();
        for cycle in graph.cycles().iter().filter(|cycle| cycle.len() > LONGEST_CYCLE) {
            failures += &graph.describe(cycle);
        }
    }
    assert!(failures.is_empty(), "files import each other in long cycles:\n{failures}");
    Ok(())
}

#[test]
fn broker_rooms_are_used_one_way() -> Result<()> {
    for package in product()?.iter().filter(|package| package.sources == "broker/src") {
        let files = package.uses();
        let rooms = rooms(package, &files);
        let failures: String =
            rooms.cycles().iter().map(|cycle| file_edges(package, &files, &rooms, cycle)).collect();
        assert!(failures.is_empty(), "rooms of the broker use each other:\n{failures}");
    }
    Ok(())
}

/// Which top-level module uses which.
fn rooms(package: &Package, files: &Graph) -> Graph {
    let mut rooms = Graph::default();
    for (from, to) in files.edges() {
        if let (Some(from), Some(to)) = (package.room(from), package.room(to))
            && from != to
        {
            rooms.add(from, to);
        }
    }
    rooms
}

/// Lists the edges of files behind a cycle of rooms: between pairs of rooms that use each other directly, or,
/// if there are no such pairs, between all rooms of the cycle.
fn file_edges(package: &Package, files: &Graph, rooms: &Graph, cycle: &BTreeSet<&str>) -> String {
    let inside: Vec<_> =
        rooms.edges().filter(|(from, to)| cycle.contains(from) && cycle.contains(to)).collect();
    let mut shown: Vec<_> =
        inside.iter().copied().filter(|(from, to)| inside.contains(&(to, from))).collect();
    if shown.is_empty() {
        shown = inside;
    }
    let mut text = format!("rooms {cycle:?}:\n");
    for (from, to) in files.edges() {
        if let (Some(a), Some(b)) = (package.room(from), package.room(to))
            && shown.contains(&(a, b))
        {
            text += &format!("  {from} -> {to}\n");
        }
    }
    text
}

#[test]
fn unsafe_code_is_in_sys_folders() -> Result<()> {
    let packages = product()?;
    let elsewhere: Vec<String> = packages
        .iter()
        .flat_map(|package| &package.files)
        .filter(|file| !file.may_be_unsafe())
        .flat_map(|file| file.unsafe_lines().into_iter().map(|line| format!("{}:{line}", file.path)))
        .collect();
    assert!(elsewhere.is_empty(), "unsafe outside of sys/: {elsewhere:?}");
    Ok(())
}

/// The bounds are what this measure gave when it was introduced: whole files with comments, without test code.
#[test]
fn files_stay_short() -> Result<()> {
    assert_lengths("file", |file| vec![file.length()], 116, 257)
}

/// The bounds are what this measure gave when it was introduced: lines between the braces of the body.
#[test]
fn functions_stay_short() -> Result<()> {
    assert_lengths("function", SourceFile::function_lengths, 4, 15)
}

/// Asserts the median and the 90th percentile of the lines that `measure` finds.
fn assert_lengths(
    what: &str,
    measure: impl Fn(&SourceFile) -> Vec<usize>,
    median: usize,
    p90: usize,
) -> Result<()> {
    let packages = product()?;
    let lengths: Vec<usize> = packages.iter().flat_map(|package| &package.files).flat_map(measure).collect();
    let found = (percentile(lengths.clone(), 50), percentile(lengths, 90));
    println!("{what}: median {} lines, 90th percentile {}", found.0, found.1);
    assert!(
        found.0 <= median && found.1 <= p90,
        "{what} length is {found:?} lines (median, 90th percentile), and may be {median}, {p90}"
    );
    Ok(())
}
