//! Instances beyond Linux 6.12: two for one thread, unique collection, and instances that threads share.

use anyhow::{Context, Result};
use kcov_tests::client::library_with;
use kcov_tests::{Outcome, Run, client, long};
use std::collections::BTreeSet;
use std::time::Duration;

/// Time for the long variants.
const WITHIN: Duration = Duration::from_secs(900);

fn run(name: &str, arguments: &[&str], options: &[&str]) -> Result<Outcome> {
    let program = client(name)?;
    let command = [program.to_str().unwrap_or_default()].into_iter().chain(arguments.iter().copied());
    options.iter().fold(Run::new(command).within(WITHIN), |run, option| run.option(option)).output()
}

#[track_caller]
fn assert_shown(name: &str, arguments: &[&str], options: &[&str], expected: &str) -> Result<Outcome> {
    let outcome = run(name, arguments, options)?;
    assert_eq!(outcome.stdout, expected, "{}", outcome.stderr);
    Ok(outcome)
}

/// By default, as in Linux 7.2, a thread owns one instance by ENABLE and another one by REMOTE_ENABLE.
#[test]
fn a_thread_owns_a_normal_and_a_remote_instance() -> Result<()> {
    let expected = "own ok\nremote-of-same EINVAL\nremote ok\nsecond-own EBUSY\nsecond-remote EBUSY\n\
        disable-own ok\nown-again ok\ndisable-remote ok\nhandle-is-free ok\ndisable-third ok\n\
        disable-again EINVAL\n";
    assert_shown("both_instances", &[], &[], expected)?.assert_sound()?;
    Ok(())
}

/// In Linux 6.12 it owns only one.
#[test]
fn with_the_older_rules_a_thread_owns_one_instance() -> Result<()> {
    let expected = "own ok\nremote-of-same EINVAL\nremote EBUSY\nsecond-own EBUSY\nsecond-remote EBUSY\n\
        disable-own ok\nown-again ok\ndisable-remote EINVAL\nhandle-is-free EBUSY\ndisable-third ok\n\
        disable-again EINVAL\n";
    assert_shown("both_instances", &[], &["--kcov-rules", "6.12"], expected)?.assert_sound()?;
    Ok(())
}

/// The PCs that a client of the vault finds, and how many of them twice.
fn covered(library: &str, bitmap: &str, reset: &str) -> Result<(BTreeSet<String>, u64)> {
    let calls = if long() { "100000" } else { "2000" };
    let outcome = run("unique_calls", &[bitmap, calls, "7", reset], &["--handler", library])?;
    let (pcs, twice) = outcome.stdout.trim_end().rsplit_once('\n').context(outcome.stderr.clone())?;
    let twice = twice.strip_prefix("twice ").context("the last line")?.parse()?;
    let report = outcome.assert_sound()?;
    assert_eq!(report.records_suppressed > 0, bitmap != "0", "{report:?}");
    Ok((pcs.lines().map(str::to_owned).collect(), twice))
}

/// With a bitmap of any size, a client finds the PCs that it finds without one; with one that has a bit for
/// each point, it finds each of them once.
#[track_caller]
fn assert_unique(variant: &str, flags: &[&str], resets: &[&str]) -> Result<()> {
    let include = kcov_tests::binaries::workspace().join("worker/include");
    let common = ["-std=gnu11", "-O2", "-g", "-shared", "-fPIC", "-fno-optimize-sibling-calls", "-I"];
    let words = common.iter().map(|word| (*word).into()).chain([include.into_os_string()]);
    let words: Vec<_> = words.chain(flags.iter().map(|word| (*word).into())).collect();
    let library = library_with("vault", variant, words)?.display().to_string();
    for reset in resets {
        let (plain, _) = covered(&library, "0", reset)?;
        assert!(plain.len() >= 20, "only {} points", plain.len());
        for bitmap in ["1", "64", "4096", "full"] {
            let (unique, twice) = covered(&library, bitmap, reset)?;
            assert_eq!(unique, plain, "bitmap {bitmap}, reset by {reset}");
            assert!(twice == 0 || bitmap == "1", "bitmap {bitmap}, reset by {reset}: {twice} PCs twice");
        }
    }
    Ok(())
}

#[test]
fn unique_collection_finds_what_plain_collection_finds() -> Result<()> {
    let resets = ["none", "memory", "request"];
    assert_unique("-unique", &["-fsanitize-coverage=trace-pc"], &resets)
}

/// The address of the callback is in a word of the library, or in a register.
#[test]
fn unique_collection_finds_calls_without_a_stub() -> Result<()> {
    assert_unique("-unique-no-plt", &["-fno-plt", "-fsanitize-coverage=trace-pc"], &["none"])
}

/// Without the extension the device does not know the request.
#[test]
fn without_the_extension_unique_enable_gives_enotty() -> Result<()> {
    let script = "import errno, fcntl, os\n\
        device = os.open('/sys/kernel/debug/kcov', os.O_RDWR)\n\
        def step(request, argument):\n    \
            try: fcntl.ioctl(device, request, argument); print('ok')\n    \
            except OSError as error: print(errno.errorcode[error.errno])\n\
        step(0x40086367, 1)\nstep(0x80086301, 512)\nstep(0x40086367, 1)\n";
    let shown = |options: &[&str]| -> Result<String> {
        let run = Run::new(["python3", "-c", script]);
        Ok(options.iter().fold(run, |run, option| run.option(option)).output()?.stdout)
    };
    assert_eq!(shown(&[])?, "EINVAL\nok\nok\n");
    for list in ["none", "reset", "none,shared"] {
        assert_eq!(shown(&["--extensions", list])?, "ENOTTY\nok\nENOTTY\n", "{list}");
    }
    Ok(())
}

/// Two threads and a forked child share an instance, and lose no record.
#[test]
fn a_shared_instance_loses_no_record() -> Result<()> {
    let calls: u64 = if long() { 3_333_334 } else { 33_334 };
    let options = ["--extensions", "shared", "--trace", "kcov,getppid"];
    let outcome = run("shared_instance", &[&calls.to_string()], &options)?;
    let lines: BTreeSet<&str> = outcome.stdout.lines().collect();
    let records = format!("records {}, 0 without a PC", 3 * calls + 2);
    let expected = [
        "first ok",
        "first-again EBUSY",
        "second ok",
        "second-disable ok",
        "child ok",
        "first-disable ok",
        "first-disable-again EINVAL",
        "other-mode-now ok",
        "disable ok",
        &records,
    ];
    assert_eq!(lines, BTreeSet::from(expected), "{}", outcome.stderr);
    let report = outcome.assert_sound()?;
    // Each ENABLE of an enabled thread leaves a record as well. That of the first one is the broker's.
    assert_eq!((report.records, report.records_lost), (3 * calls + 1, 0));
    Ok(())
}

/// Without the extension the kernel's rule holds.
#[test]
fn without_the_extension_an_instance_has_one_owner() -> Result<()> {
    let outcome = run("shared_instance", &["10"], &["--trace", "kcov,getppid"])?;
    let expected = ["second EINVAL", "child EINVAL", "first-disable ok", "records 12, 0 without a PC"];
    for line in expected {
        assert!(outcome.stdout.lines().any(|shown| shown == line), "{line}: {}", outcome.stdout);
    }
    outcome.assert_sound()?;
    Ok(())
}
