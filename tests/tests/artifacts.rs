//! A handler that crashes or hangs leaves one artifact folder for each place in its code. `replay` reproduces
//! the end from that folder.

use anyhow::{Context, Result};
use kcov_tests::binaries;
use kcov_tests::client::library_with;
use kcov_tests::instrumented::succeed;
use kcov_tests::{Outcome, Run, client, library};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The library of `faults.c`, built plainly or with a sanitizer.
fn faults(sanitizer: &[&str]) -> Result<PathBuf> {
    if sanitizer.is_empty() {
        return library("faults");
    }
    let include = binaries::workspace().join("worker/include");
    let flags = ["-std=gnu11", "-O1", "-g", "-shared", "-fPIC"].iter().chain(sanitizer).map(OsString::from);
    library_with("faults", &sanitizer.concat().replace('=', "-"), flags.chain(["-I".into(), include.into()]))
}

/// A finished run and the folder of its artifacts.
struct Kept {
    directory: TempDir,
    outcome: Outcome,
}

impl Kept {
    fn run(library: &Path, asks: &[&str], options: &[&str]) -> Result<Self> {
        // Not in the session's directory, which is removed with the run: replays need it afterwards.
        let worker = binaries::directory()?.join("kcov-worker");
        let (worker, library) = (worker.to_string_lossy(), library.to_string_lossy());
        Self::of(&["--worker", &worker, "--handler", &library], asks, options)
    }

    fn of(handler: &[&str], asks: &[&str], options: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let words = [client("faults")?.into_os_string()].into_iter().chain(asks.iter().map(OsString::from));
        let mut run = Run::new(words).logged();
        run = run.option("--artifacts").option(&directory.path().join("artifacts").to_string_lossy());
        for option in handler.iter().chain(options) {
            run = run.option(option);
        }
        let outcome = run.output()?;
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        outcome.report()?.assert_nothing_left();
        Ok(Kept { directory, outcome })
    }

    /// The last result of each request and its number of EIOs, as the client printed them.
    fn results(&self) -> Vec<&str> {
        self.outcome.stdout.lines().collect()
    }

    fn artifacts(&self) -> PathBuf {
        self.directory.path().join("artifacts")
    }

    fn folders(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.artifacts())?;
        let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        folders.sort();
        Ok(folders)
    }

    /// Returns the only artifact with this kind of end.
    fn one(&self, end: &str) -> Result<PathBuf> {
        let folders = self.folders()?;
        let is_named = |folder: &&PathBuf| {
            folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{end}-")))
        };
        let mut found = folders.iter().filter(is_named);
        let one = found.next().with_context(|| format!("no {end} among {folders:?}"))?;
        assert_eq!(found.next(), None, "{folders:?}");
        Ok(one.clone())
    }

    fn broker(&self, words: &[&str]) -> Result<Output> {
        Ok(Command::new(binaries::directory()?.join("kcov-broker")).args(words).output()?)
    }

    /// Replays the artifact and asserts that it ends in the same way.
    fn assert_reproduced(&self, folder: &Path) -> Result<String> {
        let path = folder.to_string_lossy();
        let hangs = path.contains("/hang-");
        let deadline: &[&str] = if hangs { &["--deadline", "1s"] } else { &[] };
        let output = self.broker(&[&["replay", &path], deadline].concat())?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{}: {stdout}{stderr}", folder.display());
        assert!(stdout.contains("\nreproduced: "), "{stdout}");
        Ok(stdout + &stderr)
    }
}

fn json(folder: &Path, name: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(folder.join(name))?)?)
}

fn report(folder: &Path) -> Result<String> {
    Ok(fs::read_to_string(folder.join("report.txt"))?)
}

fn source() -> PathBuf {
    binaries::workspace().join("tests/handlers/faults.c")
}

/// Line of the mark `HERE: NAME` in the source.
fn line_of(name: &str) -> Result<u64> {
    let text = fs::read_to_string(source())?;
    let mark = format!("/* HERE: {name} */");
    let line = text.lines().position(|line| line.ends_with(&mark)).context("a mark")?;
    Ok(line as u64 + 1)
}

#[test]
fn an_artifact_has_the_call_its_memory_and_every_inlined_frame() -> Result<()> {
    let kept = Kept::run(&faults(&[])?, &["7100:5", "7101:8", "7100:7"], &[])?;
    assert_eq!(kept.results(), ["7100 5 0", "7101 -5 1", "7100 7 0"], "the tenant goes on");
    let folder = kept.one("SIGSEGV")?;
    let artifact = json(&folder, "artifact.json")?;
    assert_eq!(artifact["end"]["signal"], libc::SIGSEGV);
    assert_eq!(artifact["fault"], 8);
    let call = artifact["call"].as_str().context("a call")?;
    assert!(call.starts_with("ioctl(/dev/faults, 0x7101, 0x"), "{call}");
    for (depth, name) in ["store", "follow", "obey", "faults_ioctl"].into_iter().enumerate() {
        let frame = &artifact["stack"][depth];
        assert_eq!(frame["function"], name, "{frame}");
        assert_eq!(frame["inlined"], depth < 2, "{frame}");
        assert!(frame["file"].as_str().is_some_and(|file| file.ends_with("/faults.c")), "{frame}");
        if depth < 3 {
            assert_eq!(frame["line"], line_of(name)?, "{frame}");
        }
    }
    // magic, then the address.
    let order = "17a07f01fa0000000800000000000000";
    let read = artifact["events"].as_array().and_then(|events| events.last()).context("events")?;
    assert_eq!(read["Read"]["bytes"], order);
    let text = report(&folder)?;
    for part in ["SIGSEGV in ioctl(/dev/faults, 0x7101", "fault at 0x8", order, "(inlined)"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for (path, mode) in
        [(kept.artifacts(), 0o700), (folder.clone(), 0o700), (folder.join("report.txt"), 0o600)]
    {
        assert_eq!(path.metadata()?.permissions().mode() & 0o777, mode, "{}", path.display());
    }
    let event =
        kept.outcome.events().into_iter().find(|event| event.name() == "artifact").context("an event")?;
    assert_eq!(event.field("path").map(PathBuf::from), Some(folder.clone()));
    kept.assert_reproduced(&folder).map(drop)
}

/// A fault at address 0 has an address like any other. The address of an access to a non-canonical address is
/// unknown.
#[test]
fn the_report_names_the_fault_address_if_the_kernel_knows_it() -> Result<()> {
    let library = faults(&[])?;
    for (address, expected) in
        [("0", Some(0)), ("1fffff000", Some(0x1_ffff_f000)), ("deadbeefdeadbeef", None)]
    {
        let kept = Kept::run(&library, &[&format!("7101:{address}")], &[])?;
        let folder = kept.one("SIGSEGV")?;
        assert_eq!(json(&folder, "artifact.json")?["fault"].as_u64(), expected, "{address}");
        let told = expected.map(|expected| format!("fault at {expected:#x}\n"));
        let text = report(&folder)?;
        assert_eq!(
            text.lines().find(|line| line.starts_with("fault at")),
            told.as_deref().map(str::trim_end),
            "{text}"
        );
    }
    Ok(())
}

#[test]
fn each_kind_of_end_leaves_one_artifact_that_replays() -> Result<()> {
    let asks = [
        "7102", "7102", "7104", "7105:3", "7105:0", "7108", "7109", "710a", "710b", "7103:0:2", "7111",
        "call:40", "7100:7",
    ];
    let kept = Kept::run(&faults(&[])?, &asks, &["--deadline", "300ms"])?;
    assert_eq!(kept.results().last(), Some(&"7100 7 0"));
    let names = ["SIGFPE", "SIGILL", "SIGBUS", "SIGSEGV", "SIGSYS", "exit-3", "exit-0"];
    for name in names {
        kept.assert_reproduced(&kept.one(name)?).context(name)?;
    }
    // `abort` and the hang have two places each.
    let folders = kept.folders()?;
    assert_eq!(folders.len(), names.len() + 4, "{folders:?}");
    for folder in &folders {
        kept.assert_reproduced(folder)?;
        assert!(!report(folder)?.is_empty());
    }
    assert_eq!(kept.outcome.report()?.artifacts, folders.len() as u64);
    let listed = kept.broker(&["artifacts", "--json", &kept.artifacts().to_string_lossy()])?;
    let lines: Vec<Value> =
        String::from_utf8(listed.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(lines.len(), folders.len());
    let times = |call: &str| {
        let of_call =
            lines.iter().filter(|line| line["call"].as_str().is_some_and(|text| text.contains(call)));
        of_call.filter_map(|line| line["sightings"]["count"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!((times("0x7102"), times("0x7103")), (vec![2], vec![2]));
    Ok(())
}

/// Two calls that the jail forbids and two exits with the same status are four places.
#[test]
fn forbidden_calls_and_exits_have_a_place_and_a_stack() -> Result<()> {
    let kept = Kept::run(&faults(&[])?, &["7114:0", "7114:1", "7114:1", "7105:3", "7115:3", "7100:7"], &[])?;
    assert_eq!(kept.results()[5], "7100 7 0");
    let folders = kept.folders()?;
    assert_eq!(folders.len(), 4, "{folders:?}");
    // The C library chooses the system call.
    let open = |call: &str| ["open", "openat"].contains(&call);
    for (mark, end) in
        [("open", "SIGSYS"), ("socket", "SIGSYS"), ("exit", "exit-3"), ("other exit", "exit-3")]
    {
        let place = format!("faults.c:{}:", line_of(mark)?);
        let mut reports = folders.iter().map(|folder| Ok((folder, report(folder)?)));
        let (folder, text) = reports
            .find(|found: &Result<_>| {
                found.as_ref().is_ok_and(|(_, text): &(_, String)| text.contains(&place))
            })
            .with_context(|| format!("no report of {place}"))??;
        assert!(text.starts_with(end) && text.contains("faults_ioctl"), "{text}");
        let artifact = json(folder, "artifact.json")?;
        let forbidden = artifact["forbidden"].as_str();
        assert_eq!(forbidden.is_some(), end == "SIGSYS", "{artifact}");
        if let Some(call) = forbidden {
            assert!(call == mark || mark == "open" && open(call), "{call}");
            assert!(text.contains(&format!("system call not allowed by the jail: {call}\n")), "{text}");
        }
        kept.assert_reproduced(folder)?;
    }
    let events = kept.outcome.events();
    let crashes = events.iter().filter(|event| event.name() == "worker_crash");
    let named: Vec<_> = crashes.filter_map(|event| event.field("forbidden")).collect();
    assert!(open(&named[0]), "{named:?}");
    assert_eq!(named[1..], ["socket", "socket"]);
    Ok(())
}

/// A jump to an address that is not code, through a null or overwritten function pointer, is reported with
/// the stack of the caller.
#[test]
fn a_jump_to_an_address_that_is_not_code_has_its_callers_stack() -> Result<()> {
    let kept = Kept::run(&faults(&[])?, &["7116:0", "7116:0", "7116:4096", "7101:8", "7100:7"], &[])?;
    assert_eq!(kept.results()[4], "7100 7 0");
    let place = format!("faults_ioctl at {}:{}:", source().display(), line_of("call")?);
    let reports = kept.folders()?.iter().map(|folder| report(folder)).collect::<Result<Vec<_>>>()?;
    let (calls, others): (Vec<_>, Vec<_>) = reports.iter().partition(|text| text.contains(&place));
    assert_eq!((calls.len(), others.len()), (1, 1), "one place for all targets: {reports:?}");
    assert!(calls[0].contains("in the worker itself"), "{}", calls[0]);
    let folder =
        kept.folders()?.into_iter().find(|folder| report(folder).is_ok_and(|text| text == *calls[0]));
    kept.assert_reproduced(&folder.context("its folder")?).map(drop)
}

#[test]
fn a_hundred_crashes_at_one_place_leave_one_artifact() -> Result<()> {
    let kept = Kept::run(&faults(&[])?, &["7101:8:64"], &["--max-restart-delay", "10ms"])?;
    assert_eq!(kept.results(), ["7101 -5 100"]);
    let folder = kept.one("SIGSEGV")?;
    assert_eq!(kept.folders()?.len(), 1);
    let sightings = json(&folder, "sightings.json")?;
    assert_eq!(sightings["count"], 100);
    assert!(sightings["first"].as_u64() <= sightings["last"].as_u64());
    assert_eq!(kept.outcome.report()?.artifacts, 1);
    Ok(())
}

#[test]
fn the_report_has_address_sanitizers_text_with_lines() -> Result<()> {
    let kept = Kept::run(&faults(&["-fsanitize=address"])?, &["7106:10", "7101:8", "7100:7"], &[])?;
    assert_eq!(kept.results(), ["7106 -5 1", "7101 -5 1", "7100 7 0"]);
    let folder = kept.one("SIGABRT")?;
    let text = report(&folder)?;
    let line = line_of("overflow_heap")?;
    for part in [
        "ERROR: AddressSanitizer: heap-buffer-overflow",
        "WRITE of size 1",
        "allocated by thread T0",
        "Shadow byte legend",
        &format!("faults.c:{line}:"),
        "==ABORTING",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let printed = text.lines().find(|line| line.trim_start().starts_with("#0 0x")).context("a stack")?;
    assert!(
        printed.contains("overflow_heap at ") && printed.contains(&format!("faults.c:{line}:")),
        "{printed}"
    );
    let again = kept.assert_reproduced(&folder)?;
    assert!(again.contains("heap-buffer-overflow"), "{again}");
    // Faults are reported by the worker, with a sanitizer as without one.
    kept.assert_reproduced(&kept.one("SIGSEGV")?).map(drop)
}

/// A handler may be built with both: what it covered before its death is in the caller's area.
#[test]
fn address_sanitizer_and_coverage_can_be_combined() -> Result<()> {
    let flags =
        ["-fsanitize=address", "-fsanitize-coverage=trace-pc,trace-cmp", "-fno-optimize-sibling-calls"];
    let library = faults(&flags)?;
    let kept = Kept::run(&library, &["collect", "7106:10", "7100:7"], &[])?;
    let [crash, covered, fine, after] = kept.results()[..] else { panic!("{:?}", kept.results()) };
    assert_eq!((crash, fine), ("7106 -5 1", "7100 7 0"));
    let text = report(&kept.one("SIGABRT")?)?;
    assert!(text.contains("ERROR: AddressSanitizer: heap-buffer-overflow"), "{text}");
    let places = |pcs: &str| -> Result<String> {
        let library = library.to_string_lossy();
        let pcs = pcs.split(' ').skip(1);
        let words: Vec<_> = ["symbolize", "--handler", &library].into_iter().chain(pcs).collect();
        Ok(String::from_utf8(kept.broker(&words)?.stdout)?)
    };
    let (covered, after) = (places(covered)?, places(after)?);
    let overflow = format!("overflow_heap {}", source().display());
    let line = format!("{overflow}:{}:", line_of("overflow_heap")?);
    assert!(covered.contains(&line), "{line} in {covered}");
    assert!(after.contains("faults_ioctl") && !after.contains(&overflow), "{after}");
    Ok(())
}

/// clang's sanitizer runtime is not in a folder that the loader searches: the library names it by path.
#[test]
fn the_report_has_clangs_address_sanitizers_text() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("libfaults.so");
    let runtime = format!("libclang_rt.asan-{}.so", std::env::consts::ARCH);
    let found = succeed(Command::new("clang").arg(format!("-print-file-name={runtime}")))?;
    let runtimes = Path::new(found.trim()).parent().context("a folder")?;
    let mut clang = Command::new("clang");
    clang.args(["-O1", "-g", "-shared", "-fPIC", "-fsanitize=address", "-shared-libsan"]);
    clang.arg("-fsanitize-coverage=trace-pc-guard,pc-table,trace-cmp,trace-div");
    clang.arg(format!("-Wl,-rpath,{}", runtimes.display()));
    clang.arg("-I").arg(binaries::workspace().join("worker/include"));
    succeed(clang.arg("-o").arg(&library).arg(source()))?;
    let kept = Kept::run(&library, &["7106:10", "7100:7"], &[])?;
    assert_eq!(kept.results(), ["7106 -5 1", "7100 7 0"]);
    let folder = kept.one("SIGABRT")?;
    let text = report(&folder)?;
    let place = format!("faults.c:{}:", line_of("overflow_heap")?);
    assert!(text.contains("AddressSanitizer: heap-buffer-overflow") && text.contains(&place), "{text}");
    kept.assert_reproduced(&folder).map(drop)
}

/// Repeated frames are collapsed, and the stack shows only frames of the handler.
#[test]
fn the_report_is_short() -> Result<()> {
    let kept = Kept::run(&faults(&[])?, &["keep", "7100:5:20", "7101:8"], &[])?;
    let text = report(&kept.one("SIGSEGV")?)?;
    assert!(text.contains("  (the last 2 lines, 32 times in total)"), "{text}");
    assert!(text.contains(" in the worker itself\n") && !text.contains("kcov_worker::"), "{text}");
    assert!(text.lines().count() < 30, "{text}");
    Ok(())
}

#[test]
fn the_report_has_ubsans_text_in_recovering_and_fatal_mode() -> Result<()> {
    for flags in [&["-fsanitize=undefined"][..], &["-fsanitize=undefined", "-fno-sanitize-recover"]] {
        let kept = Kept::run(&faults(flags)?, &["7107:10", "7100:7"], &[])?;
        assert_eq!(kept.results(), ["7107 -5 1", "7100 7 0"], "{flags:?}");
        let folder = kept.one("SIGABRT")?;
        let text = report(&folder)?;
        let line = line_of("overflow_int")?;
        assert!(text.contains("runtime error: signed integer overflow"), "{flags:?}: {text}");
        assert!(text.contains(&format!("faults.c:{line}:")), "{flags:?}: {text}");
        kept.assert_reproduced(&folder)?;
    }
    Ok(())
}

#[test]
fn panics_at_different_places_leave_different_artifacts() -> Result<()> {
    let worker = env!("CARGO_BIN_EXE_panicking-worker");
    let kept = Kept::of(&["--worker", worker], &["7100:5", "7101:9:2", "7102:100:2", "7100:7"], &[])?;
    assert_eq!(kept.results(), ["7100 5 0", "7101 -5 2", "7102 -5 2", "7100 7 0"]);
    let folders = kept.folders()?;
    assert_eq!(folders.len(), 2, "{folders:?}");
    let mut said = String::new();
    for folder in &folders {
        said += &report(folder)?;
        let again = kept.assert_reproduced(folder)?;
        assert!(again.contains("panicking-worker.rs:"), "{again}");
        said += &again;
    }
    for part in [
        "index out of bounds: the len is 4 but the index is 9",
        "a small number: TryFromIntError",
        "ioctl 0x7100 of file 1 returns 5",
        "panicking_worker::look_up at ",
        "panicking_worker::unwrap at ",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    Ok(())
}

/// A handler that hangs in a loop with coverage points is mostly interrupted inside kcov's recording, which is not
/// the handler's place.
#[test]
fn the_place_of_a_hang_is_in_the_handler() -> Result<()> {
    let worker = env!("CARGO_BIN_EXE_panicking-worker");
    for _ in 0..5 {
        let kept = Kept::of(&["--worker", worker], &["7103:0"], &["--deadline", "200ms"])?;
        let listed = kept.broker(&["artifacts", "--json", &kept.artifacts().to_string_lossy()])?;
        let line: Value = serde_json::from_slice(&listed.stdout)?;
        let place = line["place"].as_str().context("a place")?;
        assert!(place.starts_with("panicking_worker::spin at "), "{place}");
    }
    Ok(())
}

#[test]
fn replay_opens_a_file_whose_open_left_the_journal() -> Result<()> {
    // More events than a journal holds, all on one open file.
    let kept = Kept::run(&faults(&[])?, &["keep", "7100:5:1000", "7102"], &[])?;
    let folder = kept.one("SIGABRT")?;
    assert_eq!(json(&folder, "artifact.json")?["truncated"], true);
    kept.assert_reproduced(&folder).map(drop)
}

#[test]
fn the_number_of_artifacts_is_bounded_and_refusals_are_counted() -> Result<()> {
    let asks = ["7101:8", "7102", "7109", "7109"];
    for bound in [["--max-artifacts", "1"], ["--max-artifact-bytes", "10"]] {
        let kept = Kept::run(&faults(&[])?, &asks, &bound)?;
        let (written, report) = (kept.folders()?.len(), kept.outcome.report()?);
        assert_eq!(written, usize::from(bound[0] == "--max-artifacts"), "{bound:?}");
        assert_eq!(report.artifacts, written as u64);
        assert_eq!(report.artifacts_refused, (asks.len() - written) as u64, "{report:?}");
        let refusals: Vec<_> =
            kept.outcome.events().into_iter().filter(|event| event.name() == "quota").collect();
        assert!(refusals.iter().all(|event| event.field("option").as_deref() == Some(bound[0])));
        let told: u64 = refusals.iter().map(|event| event.number("times")).sum();
        assert_eq!(told, report.artifacts_refused);
        assert_eq!(report.quota_refusals, report.artifacts_refused, "{report:?}");
    }
    Ok(())
}

#[test]
fn an_unusable_artifact_folder_is_refused_before_the_tenant_starts() -> Result<()> {
    let run = Run::new(["echo", "started"]).option("--artifacts").option("/dev/null/x");
    let outcome = run.output()?;
    assert_eq!((outcome.code(), outcome.stdout.as_str()), (125, ""));
    assert!(
        outcome.stderr.contains("cannot write artifacts to /dev/null/x: /dev/null: Not a directory"),
        "{}",
        outcome.stderr
    );
    Ok(())
}

#[test]
fn a_replay_that_fails_says_why_and_what_to_do() -> Result<()> {
    let elsewhere = tempfile::tempdir()?;
    let moved = elsewhere.path().join("libmoved.so");
    fs::copy(faults(&[])?, &moved)?;
    let kept = Kept::run(&moved, &["7102"], &[])?;
    let folder = kept.one("SIGABRT")?.to_string_lossy().into_owned();
    let refused = |words: &[&str], expected: &str| -> Result<()> {
        let output = kept.broker(words)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{stderr}");
        assert!(stderr.contains(expected), "{expected} in {stderr}");
        Ok(())
    };
    refused(
        &["replay", "/nowhere"],
        "/nowhere is not an artifact: cannot read its artifact.json: No such file",
    )?;
    refused(&["replay", "/"], "/ is not an artifact")?;
    fs::copy(faults(&["-fsanitize=undefined"])?, &moved)?;
    refused(&["replay", &folder], "was rebuilt since")?;
    fs::remove_file(&moved)?;
    refused(&["replay", &folder], "libmoved.so does not exist any more: name it with --handler")?;
    let anew = faults(&[])?.to_string_lossy().into_owned();
    let output = kept.broker(&["replay", &folder, "--handler", &anew, "--json"])?;
    let outcome: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((output.status.code(), &outcome["reproduced"]), (Some(0), &Value::Bool(true)), "{outcome}");
    // Another handler has no device for these files.
    let other = library("probe")?.to_string_lossy().into_owned();
    let output = kept.broker(&["replay", &folder, "--handler", &other, "--json"])?;
    let outcome: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!((output.status.code(), &outcome["reproduced"]), (Some(1), &Value::Bool(false)), "{outcome}");
    fs::write(Path::new(&folder).join("events.bin"), b"no events")?;
    refused(&["replay", &folder, "--handler", &anew], "cannot replay the artifact, see its message above")
}

#[test]
fn gdb_stops_where_the_handler_died() -> Result<()> {
    let kept = Kept::run(&faults(&[])?, &["7101:8", "7114:1", "7105:3"], &[])?;
    let words = ["--batch", "-iex=set debuginfod enabled off", "-ex=run", "-ex=backtrace 4"];
    for (end, parts) in [
        ("SIGSEGV", &["SIGSEGV", "follow (order=", "obey (order", "faults_ioctl (state"][..]),
        ("SIGSYS", &["SIGSYS", "socket", "faults_ioctl (state"]),
        ("exit-3", &["exit_group", "faults_ioctl (state"]),
    ] {
        let folder = kept.one(end)?;
        let arguments = words.iter().flat_map(|word| ["--gdb-arg", word]);
        let arguments: Vec<_> = arguments.chain(["--gdb-arg", "-ex=backtrace"]).collect();
        let text = gdb(&folder, &arguments, "")?;
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    // Without arguments gdb is already stopped there at the first prompt.
    let text = gdb(&kept.one("SIGSEGV")?, &[], "backtrace 2\n")?;
    assert!(text.contains("follow (order="), "{text}");
    Ok(())
}

/// Runs `replay --gdb` on the artifact with `commands` and returns its output.
fn gdb(folder: &Path, arguments: &[&str], commands: &str) -> Result<String> {
    let mut command = Command::new(binaries::directory()?.join("kcov-broker"));
    command.args(["replay", "--gdb"]).args(arguments).arg(folder).env("DEBUGINFOD_URLS", "");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.as_ref().context("a pipe")?.write_all(commands.as_bytes())?;
    let output = child.wait_with_output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
