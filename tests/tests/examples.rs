//! The examples as users run them: the fuzzer finds the bugs that were planted in the devices, keeps running,
//! and disturbs no other client.

use anyhow::{Context, Result};
use kcov_tests::binaries::{directory, example, workspace};
use kcov_tests::client::library_with;
use kcov_tests::package::Package;
use kcov_tests::{Control, Run, Session, client, long};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Requests of the vault with a bug, and how they end.
const BUGS: [(&str, u32); 3] = [("crash", PUT), ("hang", DIAL), ("crash", UNLOCK)];
const PUT: u32 = 0x7601;
const DIAL: u32 = 0x7602;
const UNLOCK: u32 = 0x7604;

/// Time for all three bugs, in seconds.
const TIME: &str = "60";
/// Deadline of a run that hangs.
const WITHIN: Duration = Duration::from_secs(600);
/// Deadline of a call: a worker may take this long on a busy machine.
const DEADLINE: &str = "2s";
const HANG: &str = "1500";

/// The summary that the fuzzer prints.
#[derive(Debug, Deserialize)]
struct Campaign {
    crashes: Vec<Crash>,
}

#[derive(Debug, Deserialize)]
struct Crash {
    kind: String,
    request: u32,
    executions: u64,
}

/// Options of `kcov-broker run` that serve the device.
type Served<'a> = [&'a str; 2];

/// Runs the fuzzer on the vault beside a client of the same tenant whose calls must all succeed.
fn fuzz(served: Served<'_>, seed: u64, options: &[&str], artifacts: &Path) -> Result<Campaign> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let script = r#"
        "$1" "$2" same & neighbour=$!
        shift 2
        "$@"
        status=$?
        printf '\001' | dd of="$CONTROL" conv=notrunc status=none
        wait $neighbour || exit 100
        exit $status"#;
    let neighbour = client("hostile_neighbour")?.display().to_string();
    let (path, fuzzer) = (control.path().display().to_string(), example("fuzz")?.display().to_string());
    let seed = seed.to_string();
    let words = ["bash", "-c", script, "bash", &neighbour, &path, &fuzzer, "--device", "/dev/vault"];
    let words = words.into_iter().chain(["--requests", "0x7601-0x7604", "--hang", HANG, "--json"]);
    let words = words.chain(["--seed", &seed]).chain(options.iter().copied());
    let artifacts = artifacts.display().to_string();
    let broker = ["--trace", "kcov,getppid", "--deadline", DEADLINE, "--artifacts", &artifacts];
    let run = Run::new(words).env("CONTROL", &path);
    let run = broker.into_iter().chain(served).fold(run, |run, option| run.option(option));
    let outcome = run.within(WITHIN).start_in(session)?.finish()?;
    assert!([0, 1].contains(&outcome.code()), "{}\n{}", outcome.stdout, outcome.stderr);
    outcome.report()?.assert_nothing_left();
    serde_json::from_str(&outcome.stdout).with_context(|| format!("no account: {}", outcome.stdout))
}

/// Asserts that each bug left at least one artifact, and that its replay ends in the same way.
fn assert_all_replay([option, program]: Served<'_>, artifacts: &Path) -> Result<()> {
    // The session's worker is removed with the session.
    let stock = directory()?.join("kcov-worker");
    let worker = if option == "--worker" { Path::new(program) } else { &stock };
    let folders = fs::read_dir(artifacts)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let folders: Vec<_> = folders.iter().filter(|folder| folder.join("artifact.json").is_file()).collect();
    assert!(folders.len() >= BUGS.len(), "{folders:?}");
    for folder in folders {
        let hung = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("hang"));
        // Outside its jail AddressSanitizer looks up functions and lines, which takes time.
        let deadline = if hung { DEADLINE } else { "60s" };
        let mut replay = Command::new(directory()?.join("kcov-broker"));
        let output =
            replay.args(["replay", "--deadline", deadline, "--worker"]).args([worker, folder]).output()?;
        assert!(output.status.success(), "{}: {output:?}", folder.display());
    }
    Ok(())
}

fn find_all(served: Served<'_>, seed: u64) -> Result<Campaign> {
    let artifacts = tempfile::tempdir()?;
    let campaign = fuzz(served, seed, &["--crashes", "3", "--time", TIME], artifacts.path())?;
    let found: BTreeSet<_> =
        campaign.crashes.iter().map(|crash| (crash.kind.as_str(), crash.request)).collect();
    assert_eq!(found, BTreeSet::from(BUGS), "seed {seed}: {campaign:?}");
    assert_all_replay(served, artifacts.path())?;
    Ok(campaign)
}

fn seeds() -> std::ops::Range<u64> {
    0..if long() { 10 } else { 1 }
}

/// Executions until the door opened; `None` if it did not open.
fn until_unlocked(campaign: &Campaign) -> Option<u64> {
    campaign.crashes.iter().find(|crash| crash.request == UNLOCK).map(|crash| crash.executions)
}

/// The median; the higher of two middle values.
fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Without comparisons, the fuzzer does not find the nested conditions in ten times the executions that it
/// needs with them.
fn assert_comparisons_help(served: Served<'_>, campaigns: &[Campaign]) -> Result<()> {
    let with = median(campaigns.iter().filter_map(until_unlocked).collect());
    let most = with * if long() { 10 } else { 1 };
    let artifacts = tempfile::tempdir()?;
    let blind = |seed| -> Result<u64> {
        let limits = ["--no-cmp", "--executions", &most.to_string()];
        let campaign = fuzz(served, seed, &limits, artifacts.path())?;
        Ok(until_unlocked(&campaign).unwrap_or(most))
    };
    let without = median(seeds().map(blind).collect::<Result<_>>()?);
    println!("median of executions: {with} with comparisons, {without} without, at most {most}");
    assert!(without >= most, "{without} of {most}");
    Ok(())
}

#[test]
fn every_bug_of_the_vault_in_rust_is_found() -> Result<()> {
    let vault = example("vault")?.display().to_string();
    let served = ["--worker", vault.as_str()];
    let campaigns: Vec<_> = seeds().map(|seed| find_all(served, seed)).collect::<Result<_>>()?;
    assert_comparisons_help(served, &campaigns)
}

/// A vault without marks in its source: `kcov-broker cargo` instruments its code.
#[test]
fn every_bug_of_the_vault_is_found_without_a_macro() -> Result<()> {
    let source = fs::read_to_string(workspace().join("worker/examples/vault.rs"))?;
    let is_macro = |line: &&str| ["kcov_edge!", "kcov_cmp!"].iter().any(|name| line.trim().starts_with(name));
    let lines = source.lines().filter(|line| !is_macro(line));
    let plain = lines.collect::<Vec<_>>().join("\n").replace("{Errno, kcov_cmp, kcov_edge}", "Errno");
    assert!(!plain.contains("kcov_edge") && !plain.contains("kcov_cmp"), "{plain}");
    let folder = tempfile::tempdir()?;
    let package = Package::new(folder.path(), "vault", &[("src/main.rs", &plain)])?;
    let vault = package.build_instrumented()?.display().to_string();
    find_all(["--worker", &vault], 0).map(drop)
}

/// Flags for a handler in C that the compiler instruments.
fn instrumented(more: &[&str]) -> Vec<OsString> {
    let include = workspace().join("worker/include");
    let flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"];
    let flags = flags.into_iter().chain(["-fsanitize-coverage=trace-pc,trace-cmp"]);
    let flags = flags.chain(more.iter().copied()).map(OsString::from);
    flags.chain(["-I".into(), include.into()]).collect()
}

#[test]
fn every_bug_of_the_vault_in_c_is_found() -> Result<()> {
    let vault = library_with("vault", "-asan", instrumented(&["-fsanitize=address"]))?.display().to_string();
    let served = ["--handler", vault.as_str()];
    let campaigns: Vec<_> = seeds().map(|seed| find_all(served, seed)).collect::<Result<_>>()?;
    assert_comparisons_help(served, &campaigns)
}

/// Returns the PCs, one a line, that the fuzzer covers in a picture decoder in so many executions.
fn covered_of_pictures(handler: &str, executions: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let pcs = folder.path().join("pcs").display().to_string();
    let fuzzer = example("fuzz")?.display().to_string();
    let words =
        [&fuzzer, "--device", "/dev/picture", "--requests", "0x7701", "--memory", "1024", "--hang", HANG];
    let run = Run::new(words.into_iter().chain(["--executions", executions, "--pcs", &pcs]));
    let run =
        ["--deadline", DEADLINE, "--handler", handler].into_iter().fold(run, |run, word| run.option(word));
    let outcome = run.within(WITHIN).output()?;
    assert_eq!(outcome.code(), 0, "{}\n{}", outcome.stdout, outcome.stderr);
    Ok(fs::read_to_string(pcs)?)
}

/// The fuzzer drives a library of the distribution, built from its own source, through `ioctl`, and covers
/// more and more of it.
#[test]
fn fuzzing_a_library_of_the_distribution_covers_more_and_more() -> Result<()> {
    let handler =
        library_with("picture", "", instrumented(&["-Wl,--no-as-needed", "-lm"]))?.display().to_string();
    let few = covered_of_pictures(&handler, "20")?;
    let many = covered_of_pictures(&handler, if long() { "20000" } else { "1000" })?;
    let (before, after) = (few.lines().count(), many.lines().count());
    println!("{before} PCs, then {after}");
    assert!(after >= before + 50, "{before} PCs, then {after}");
    let mut symbolize = Command::new(directory()?.join("kcov-broker"));
    symbolize.args(["symbolize", "--handler", &handler]).args(many.lines());
    let places = String::from_utf8(symbolize.output()?.stdout)?;
    let of_the_library = places.lines().filter(|place| place.contains("/stb_image.h:")).count();
    assert!(of_the_library * 2 > after, "{of_the_library} of {after}:\n{places}");
    Ok(())
}
