//! Clients that use a KCOV device exactly as syzkaller's executor does.

use anyhow::{Context, Result, ensure};
use kcov_tests::{Outcome, Run, client, long};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The first profile is the one for executors; the second must serve them as well.
const PROFILES: [&str; 2] = ["syzkaller", "every"];
/// Instances of an executor, including the remote one.
const INSTANCES: u64 = 9;
/// A PC outside makes the executor drop the signal of the whole call.
const TEXT: std::ops::Range<u64> = 0xffff_ffff_8000_0000..0xffff_ffff_ff00_0000;
/// Low bits of a PC that filters ignore.
const FILTERED: u64 = 7;
/// The most regions of 1 GiB that filters track.
const REGIONS: usize = 8;

fn run(name: &str, arguments: &[&str], profile: &str) -> Result<Run> {
    let program = client(name)?.into_os_string();
    let arguments = arguments.iter().map(OsString::from);
    Ok(Run::new([program].into_iter().chain(arguments)).trace(profile))
}

/// Runs the client under each profile, and asserts what it prints and that nothing was lost or left.
#[track_caller]
fn assert_facts(name: &str, arguments: &[&str], facts: &str) -> Result<()> {
    assert_facts_with(name, arguments, &[], facts)
}

/// The same with options of `kcov-broker run`.
#[track_caller]
fn assert_facts_with(name: &str, arguments: &[&str], options: &[&str], facts: &str) -> Result<()> {
    for profile in PROFILES {
        let run = run(name, arguments, profile)?;
        let outcome = options.iter().fold(run, |run, option| run.option(option)).output()?;
        assert_eq!(outcome.stdout, facts, "under {profile}:\n{}", outcome.stderr);
        let report = outcome.assert_sound()?;
        assert_eq!(report.records_lost, 0, "under {profile}");
    }
    Ok(())
}

/// Instances at fixed descriptors, with sign-extended requests; areas between guard pages, mapped early,
/// late, twice and read-only; protection keys; handles of remote coverage.
#[test]
fn the_executors_instances_and_probes_work() -> Result<()> {
    let keys = if has_protection_keys()? { "pkey ok\nrecorded-under-pkey yes\n" } else { "pkey none\n" };
    let guards = "guard-before EFAULT\nfirst-byte ok\nlast-byte ok\nguard-behind EFAULT\n".repeat(2);
    let facts = format!(
        "{guards}\
         second-init EBUSY\nwide-enable ok\ndisable ok\nrecords yes\nrecords yes\nrecords yes\nmapped-late yes\n\
         second-view yes\nunmap-second ok\nfirst-view-stays yes\nread-only-view yes\n\
         {keys}\
         remote-child yes\nremote ok\nown-calls-not-remote yes\nhandles-taken yes\n\
         enable-beside-remote ok\ndisable-beside-remote ok\n\
         remote-disable ok\nhandles-free yes\nrecords-after-remote yes\n"
    );
    assert_facts("syz_device", &[], &facts)?;
    // Before Linux 7.2 a thread has one instance.
    let older = facts
        .replace("enable-beside-remote ok", "enable-beside-remote EBUSY")
        .replace("disable-beside-remote ok", "disable-beside-remote EINVAL");
    assert_facts_with("syz_device", &[], &["--kcov-rules", "6.12"], &older)
}

/// Returns whether processor and kernel support protection keys.
fn has_protection_keys() -> Result<bool> {
    let text = fs::read_to_string("/proc/cpuinfo")?;
    Ok(text.split_whitespace().any(|word| word == "ospke"))
}

/// A new child enables the instance that the child before it, ended by exit or SIGKILL, never disabled. No
/// record is lost.
#[test]
fn successive_programs_lose_no_records() -> Result<()> {
    let programs = if long() { 10_000 } else { 500 };
    for profile in PROFILES {
        let run = run("syz_programs", &[&programs.to_string()], profile)?;
        let outcome = run.within(Duration::from_secs(900)).output()?;
        assert_eq!(outcome.stdout, format!("programs {programs} lost 0\n"), "{profile}:\n{}", outcome.stderr);
        let report = outcome.assert_sound()?;
        assert_eq!((report.instances_opened, report.records_lost), (INSTANCES, 0), "under {profile}");
    }
    Ok(())
}

/// The main thread resets the area of another thread by a store: the next call leaves its usual records, and
/// a store during calls leaves a valid area.
#[test]
fn the_main_thread_may_reset_the_area_of_another() -> Result<()> {
    let calls = if long() { "200000" } else { "5000" };
    assert_facts("syz_reset", &[calls], "equal 100\nwhole yes\n")
}

/// The probe for `RESET_TRACE` finds it where it is enabled.
#[test]
fn the_reset_probe_finds_the_extension() -> Result<()> {
    assert_facts("syz_probe", &[], "reset ok\nrecorded yes\nemptied yes\n")
}

/// Where it is disabled the answer is `ENOTTY`, the only errno that the executor takes for a device without
/// it.
#[test]
fn the_reset_probe_gets_enotty_without_extensions() -> Result<()> {
    for profile in PROFILES {
        let run = run("syz_probe", &[], profile)?.option("--extensions").option("none");
        let outcome = run.output()?;
        assert_eq!(outcome.stdout, "reset ENOTTY\nrecorded yes\nemptied no\n", "{}", outcome.stderr);
        outcome.assert_sound()?;
    }
    Ok(())
}

/// Test programs that misuse the executor's instances harm neither their own instance nor another.
#[test]
fn misuse_of_inherited_instances_does_no_harm() -> Result<()> {
    const ACTS: [&str; 17] = [
        "nothing",
        "ftruncate",
        "pwrite",
        "punch-hole",
        "fallocate",
        "close",
        "dup2",
        "dup2-another",
        "open-all",
        "open-again",
        "headers",
        "unmap",
        "seal-and-lease",
        "listener",
        "filter",
        "ptrace",
        "dumpable",
    ];
    let facts: String = ACTS.iter().map(|act| format!("{act} 0, covers, covers\n")).collect();
    for profile in PROFILES {
        let outcome = run("syz_abuse", &[], profile)?.output()?;
        assert_eq!(outcome.stdout, facts, "under {profile}:\n{}", outcome.stderr);
        outcome.assert_sound()?;
    }
    Ok(())
}

/// Records of calls, by round and position in the program: name of the call, words.
type Trace = BTreeMap<u32, Vec<(String, Vec<u64>)>>;

fn trace(mode: &str, profile: &str) -> Result<(String, Trace)> {
    let outcome: Outcome = run("syz_trace", &[mode], profile)?.output()?;
    outcome.assert_sound()?;
    let mut trace = Trace::new();
    for line in outcome.stdout.lines() {
        let mut words = line.split(' ');
        let round = words.next().context("round")?.parse()?;
        let name = words.next().context("name")?.to_owned();
        let number = |word: &str| -> Result<u64> {
            let digits = word.strip_prefix("0x").with_context(|| format!("not hexadecimal: {word}"))?;
            Ok(u64::from_str_radix(digits, 16)?)
        };
        trace.entry(round).or_default().push((name, words.map(number).collect::<Result<_>>()?));
    }
    ensure!(trace.keys().eq(&[1, 2]), "rounds of {}", outcome.stdout);
    Ok((outcome.stdout, trace))
}

/// Asserts that the executor and its filters accept the PCs.
#[track_caller]
fn assert_accepted(pcs: &[u64]) {
    assert!(pcs.iter().all(|pc| TEXT.contains(pc)), "outside the text: {pcs:x?}");
    let count = |mut values: Vec<u64>| {
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    let places = count(pcs.to_vec());
    assert_eq!(count(pcs.iter().map(|pc| pc & !FILTERED).collect()), places, "{pcs:x?}");
    assert!(count(pcs.iter().map(|pc| pc >> 30).collect()) <= REGIONS, "{pcs:x?}");
}

/// Whether the profile traces the call of the client. The one for executors traces the calls that signals may
/// interrupt, and mmap with `MAP_FIXED`, which syzkaller's machine check makes first.
fn is_traced(profile: &str, call: &str) -> bool {
    profile == "every" || ["mmap", "read", "write"].contains(&call)
}

/// Every traced call of a program is covered, and no other. A call leaves the same records each time, in one
/// process and in every run.
#[test]
fn calls_leave_the_same_pcs_each_time() -> Result<()> {
    for profile in PROFILES {
        let (text, trace) = trace("pc", profile)?;
        assert_eq!(trace[&1], trace[&2], "under {profile}");
        for (call, pcs) in &trace[&1] {
            assert_eq!(!pcs.is_empty(), is_traced(profile, call), "{call} under {profile}: {pcs:x?}");
        }
        let pcs: Vec<u64> = trace[&1].iter().flat_map(|(_, pcs)| pcs.clone()).collect();
        assert_accepted(&pcs);
        assert_eq!(self::trace("pc", profile)?.0, text, "another run under {profile}");
    }
    Ok(())
}

/// Every traced call leaves a comparison that the executor keeps, and no record that it takes for corruption.
#[test]
fn calls_leave_comparisons_that_are_kept() -> Result<()> {
    for profile in PROFILES {
        let (text, trace) = trace("cmp", profile)?;
        assert_eq!(trace[&1], trace[&2], "under {profile}");
        for (call, words) in &trace[&1] {
            let (records, rest) = words.as_chunks::<4>();
            assert!(rest.is_empty(), "{call}: {words:x?}");
            assert_eq!(!records.is_empty(), is_traced(profile, call), "{call} under {profile}: {records:x?}");
            assert!(records.iter().all(|[kind, ..]| *kind <= 7), "{call}: {records:x?}");
            let kept = records.is_empty() || records.iter().any(is_kept);
            assert!(kept, "{call} leaves no comparison that is kept: {records:x?}");
            assert_accepted(&records.iter().map(|[.., pc]| *pc).collect::<Vec<_>>());
        }
        assert_eq!(self::trace("cmp", profile)?.0, text, "another run under {profile}");
    }
    Ok(())
}

/// The executor drops comparisons with equal operands, and those whose first operand is 0 if the second is 0
/// too or the first is a constant.
fn is_kept([kind, left, right, _]: &[u64; 4]) -> bool {
    let constant = kind & 1 != 0;
    left != right && !(*left == 0 && (*right == 0 || constant))
}

/// A memory cgroup for the executor, removed when dropped.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// Returns `None` where memory cgroups do not exist or cannot be created.
    fn new(name: &str) -> Option<Self> {
        let name = format!("kcov-tests-{}-{name}", std::process::id());
        // Version 1 has a separate hierarchy for memory.
        let parents = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
        let groups = parents.into_iter().map(|parent| MemoryGroup(Path::new(parent).join(&name)));
        groups.filter(|group| fs::create_dir(&group.0).is_ok()).find(MemoryGroup::limits_memory)
    }

    fn limits_memory(&self) -> bool {
        ["memory.limit_in_bytes", "memory.max"].iter().any(|file| self.0.join(file).is_file())
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // If the test failed, there may be none.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Enters a sandbox step by step, and asserts that the instances work after each step.
#[track_caller]
fn assert_sandbox(kind: &str, steps: &str) -> Result<()> {
    for profile in PROFILES {
        let group = MemoryGroup::new(&format!("{kind}-{profile}"));
        let path = group.as_ref().map_or("-", |group| group.0.to_str().unwrap_or("-")).to_owned();
        let outcome = run("syz_sandbox", &[kind, &path], profile)?.output()?;
        let memory = if group.is_some() { "memory\n" } else { "" };
        let expected: String =
            format!("start\n{memory}session\n{steps}end\noutside\n").lines().map(fact).collect();
        assert_eq!(outcome.stdout, expected, "under {profile}:\n{}", outcome.stderr);
        outcome.assert_sound()?;
    }
    Ok(())
}

/// After a step that prints nothing else, the instances are tried.
fn fact(step: &str) -> String {
    if step.contains(' ') { format!("{step}\n") } else { format!("{step} ok, covers, covers\n") }
}

/// Limits, a PID namespace, a new root, another user, not dumpable: descriptors work in all of them, and so
/// do programs whose threads never disable.
#[test]
fn instances_work_in_the_setuid_sandbox() -> Result<()> {
    assert_sandbox(
        "setuid",
        "namespaces\nlimits\npivot_root\nchroot\nopen ok\nopen-dev ok\nsetuid\ndumpable\nno-new-privileges\n\
         program covers\nprogram covers\nprogram covers\nopen-as-nobody EACCES\n",
    )
}

/// The same in a user namespace.
#[test]
fn instances_work_in_the_namespace_sandbox() -> Result<()> {
    assert_sandbox(
        "namespace",
        "uid-map\nnamespaces\nlimits\npivot_root\nchroot\nopen ok\nopen-dev ok\ndumpable\nno-new-privileges\n\
         program covers\nprogram covers\nprogram covers\n",
    )
}

/// A fuzzer reads the range of the kernel's text, which contains all PCs, from `/proc/kallsyms`. Only tenants
/// that ask for it see the file replaced.
#[test]
fn kallsyms_shows_the_range_of_all_pcs() -> Result<()> {
    const SCRIPT: &str =
        "cat /proc/kallsyms | head -3; ls -l /proc/kallsyms | cut -c1-10; echo x >/proc/kallsyms";
    let host = fs::read("/proc/kallsyms").unwrap_or_default();
    let outcome = Run::bash(SCRIPT).trace("syzkaller").option("--kallsyms").output()?;
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let shown = format!("{:016x} T _stext", TEXT.start);
    assert_eq!(
        lines,
        [shown.as_str(), &format!("{:016x} T _etext", TEXT.end), "-r--r--r--"],
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("Read-only file system"), "{}", outcome.stderr);
    let without = Run::new(["cat", "/proc/kallsyms"]).trace("kcov").output()?;
    assert_eq!(without.stdout.as_bytes(), host, "a tenant without the option sees the host's file");
    assert_eq!(fs::read("/proc/kallsyms").unwrap_or_default(), host, "the host's file is unchanged");
    Ok(())
}
