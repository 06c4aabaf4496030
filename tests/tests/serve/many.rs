//! Many tenants, one after the other and at the same time.

use anyhow::{Context, Result};
use kcov_tests::process::Process;
use kcov_tests::service::{Service, tenant};
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// Private memory of a process, KiB.
fn private_kib(process: Process) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.0)).ok()?;
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    Some(lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

fn memory(process: Process) -> Result<u64> {
    let status = process.status().context("the manager")?;
    let words = status.get("VmRSS").and_then(|text| text.split_whitespace().next()?.parse().ok());
    words.context("its memory")
}

/// Tenants that come and go leave no process, descriptor, memory or mount.
#[test]
fn tenants_one_after_the_other_leave_nothing() -> Result<()> {
    /// The allocator keeps some memory; one KiB for each tenant would be a leak.
    const SLACK_KIB: u64 = 512;
    let rounds = if kcov_tests::long() { 1000 } else { 12 };
    let service = Service::start("")?;
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().count();
    let (mut uids, mut before) = (BTreeSet::new(), None);
    let start = Instant::now();
    for round in 0..rounds {
        let name = format!("tenant-{round}");
        service.add(&tenant(&name, &["sleep", "1000"], ""))?;
        uids.insert(service.tenant(&name)?.uid);
        service.ordered(&["stop", &name])?;
        if round == 4 {
            let manager = service.manager();
            before = Some((manager.descriptors().map(|all| all.len()), memory(manager)?, mounts()));
        }
    }
    println!("{rounds} tenants added and stopped in {:?}", start.elapsed());
    assert_eq!(uids.len(), rounds, "each had a uid of its own");
    service.wait_empty()?;
    let (descriptors, kib, mounted) = before.context("rounds")?;
    // A descriptor of an operator who has just disconnected may still be there.
    kcov_tests::until("no more descriptors than before", Duration::from_secs(60), || {
        (service.manager().descriptors().map(|all| all.len()) <= descriptors).then_some(())
    })?;
    assert_eq!(mounts(), mounted, "mounts of this machine");
    let after = memory(service.manager())?;
    assert!(after <= kib + SLACK_KIB, "memory of the manager: {kib} KiB, then {after} KiB");
    service.stop()?;
    Ok(())
}

/// The private memory of an idle tenant's zygote and worker is bounded. The test prints the time to start.
#[test]
fn idle_tenants_are_small() -> Result<()> {
    /// The goal, KiB.
    const MOST_KIB: u64 = 3 * 1024;
    let count = if kcov_tests::long() { 200 } else { 8 };
    let tenants: String =
        (0..count).map(|number| tenant(&format!("t{number}"), &["sleep", "1000"], "")).collect();
    let begin = Instant::now();
    let service = Service::start(&tenants)?;
    for number in 0..count {
        service.wait_state(&format!("t{number}"), "running")?;
    }
    let all = begin.elapsed();
    let mut starts: Vec<_> = service.list()?.iter().filter_map(|tenant| tenant.start_ms).collect();
    starts.sort_unstable();
    let named = |name| service.session.named(name);
    let each = |name| named(name).into_iter().filter_map(private_kib).sum::<u64>() / count as u64;
    let (zygote, worker, broker) = (each("kcov-zygote"), each("kcov-worker"), each("kcov-broker"));
    println!("{count} tenants: all run after {all:?}, {:?} each", all / count as u32);
    println!("start of one, ms: median {}, slowest {}", starts[starts.len() / 2], starts[starts.len() - 1]);
    println!("private memory each, KiB: zygote {zygote}, worker {worker}, broker {broker}");
    assert!(zygote + worker <= MOST_KIB, "{zygote} + {worker} KiB");
    service.stop()?;
    Ok(())
}
