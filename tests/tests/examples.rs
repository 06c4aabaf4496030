//! The examples, as users run them: the fuzzer finds the bugs that were planted in the devices, goes on, and disturbs
//! nobody.

use anyhow::{Context, Result};
use kcov_tests::binaries::example;
use kcov_tests::{Control, Run, Session, client, long};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// Requests of the vault that have a bug, and how they end.
const BUGS: [(&str, u32); 3] = [("crash", PUT), ("hang", DIAL), ("crash", UNLOCK)];
const PUT: u32 = 0x7601;
const DIAL: u32 = 0x7602;
const UNLOCK: u32 = 0x7604;

/// Time for all three, seconds.
const TIME: &str = "60";
/// A worker may take so long on a busy machine without being hung.
const DEADLINE: &str = "2s";
const HANG: &str = "1500";

/// The fuzzer's own account.
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

/// How the device is served: options of `kcov-broker run`.
type Served<'a> = [&'a str; 2];

/// The fuzzer on the vault, beside a client of the same tenant whose every call must succeed.
fn fuzz(served: Served<'_>, seed: u64, options: &[&str]) -> Result<Campaign> {
    let session = Session::new()?;
    let control = Control::new(session.path("control"))?;
    let script = r#"
        "$1" "$2" & neighbour=$!
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
    let run = Run::new(words).env("CONTROL", &path).option("--deadline").option(DEADLINE);
    let run = served.into_iter().fold(run.trace("kcov,getppid"), |run, option| run.option(option));
    let outcome = run.within(Duration::from_secs(600)).start_in(session)?.finish()?;
    assert!([0, 1].contains(&outcome.code()), "{}\n{}", outcome.stdout, outcome.stderr);
    outcome.report()?.assert_nothing_left();
    serde_json::from_str(&outcome.stdout).with_context(|| format!("no account: {}", outcome.stdout))
}

fn find_all(served: Served<'_>, seed: u64) -> Result<Campaign> {
    let campaign = fuzz(served, seed, &["--crashes", "3", "--time", TIME])?;
    let found: BTreeSet<_> =
        campaign.crashes.iter().map(|crash| (crash.kind.as_str(), crash.request)).collect();
    assert_eq!(found, BTreeSet::from(BUGS), "seed {seed}: {campaign:?}");
    Ok(campaign)
}

fn seeds() -> std::ops::Range<u64> {
    0..if long() { 10 } else { 2 }
}

/// Executions until the door opened; `None` if it did not.
fn until_unlocked(campaign: &Campaign) -> Option<u64> {
    campaign.crashes.iter().find(|crash| crash.request == UNLOCK).map(|crash| crash.executions)
}

/// The middle one, the higher of two.
fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Without comparisons the nested ones are hopeless, in ten times as many executions as they take with them.
fn assert_comparisons_help(served: Served<'_>, campaigns: &[Campaign]) -> Result<()> {
    let with = median(campaigns.iter().filter_map(until_unlocked).collect());
    let most = with * if long() { 10 } else { 1 };
    let blind = |seed| -> Result<u64> {
        let campaign = fuzz(served, seed, &["--no-cmp", "--executions", &most.to_string()])?;
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
