//! Compares `kcov-broker cover` with the compilers' own tools, gcov for gcc and llvm-cov for clang, on the
//! same source and the same calls. Both must count the same lines, and agree on which were reached.

use anyhow::{Context, Result, ensure};
use kcov_tests::Run;
use kcov_tests::binaries::workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines, each with whether it was reached.
type Lines = BTreeMap<u32, bool>;

/// Arguments of the calls of a run.
const RUNS: [&[&str]; 3] = [&["6"], &["1001", "1002"], &["0", "2", "3", "7", "1004"]];

/// Makes the calls through the device.
const DRIVER: &str = "import fcntl, os, sys\n\
    fd = os.open('/dev/branchy', os.O_RDWR)\n\
    for word in sys.argv[1:]:\n\
    \x20   try: fcntl.ioctl(fd, 0x7201, int(word, 0))\n\
    \x20   except OSError: pass\n";

fn source() -> PathBuf {
    workspace().join("tests/handlers/branchy.c")
}

/// Runs a tool in `folder`. Returns its standard output.
fn tool<I: IntoIterator<Item: AsRef<OsStr>>>(folder: &Path, name: &str, arguments: I) -> Result<String> {
    let output = Command::new(name).args(arguments).current_dir(folder).output().context(name.to_owned())?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn compile(folder: &Path, compiler: &str, flags: &[&str], output: &str) -> Result<()> {
    let (source, include) = (source(), workspace().join("worker/include"));
    let paths = ["-I".as_ref(), include.as_os_str(), source.as_os_str(), "-o".as_ref(), output.as_ref()];
    let flags = ["-O0", "-g", "-Wall", "-Wextra", "-Werror"].iter().chain(flags).map(OsStr::new);
    tool(folder, compiler, flags.chain(paths)).map(drop)
}

/// Parses the lines of the source in an lcov tracefile.
fn tracefile(text: &str) -> Lines {
    let ours =
        |record: &&str| record.lines().any(|line| line.starts_with("SF:") && line.ends_with("/branchy.c"));
    let records = text.split("end_of_record").filter(ours);
    let data = records.flat_map(str::lines).filter_map(|line| line.strip_prefix("DA:")?.split_once(','));
    data.filter_map(|(line, count)| Some((line.parse().ok()?, count != "0"))).collect()
}

/// Parses `gcov --stdout`: count, line number and text, separated by colons.
fn gcov(text: &str) -> Lines {
    let line = |line: &str| {
        let (count, rest) = line.trim_start().split_once(':')?;
        let number = rest.split(':').next()?.trim().parse().ok()?;
        (count != "-").then_some((number, !count.starts_with(['#', '='])))
    };
    text.lines().filter_map(line).collect()
}

/// What `cover` reports of the calls.
fn covered(folder: &Path, calls: &[&str]) -> Result<Lines> {
    let library = folder.join("libbranchy.so");
    let lcov = folder.join("lcov");
    let run = Run::new(["python3", "-c", DRIVER].iter().chain(calls)).covered();
    let run = run.option("--handler").option(&library.to_string_lossy());
    run.option("--lcov").option(&lcov.to_string_lossy()).output()?.assert_sound()?;
    Ok(tracefile(&std::fs::read_to_string(lcov)?))
}

/// Keeps the lines of code that both builds share: the statements. Tools differ in the line where a function
/// begins, and in whether they count braces, labels, `else` and `break`.
fn shared(lines: Lines) -> Result<Lines> {
    let text = std::fs::read_to_string(source())?;
    let source: Vec<&str> = text.lines().map(str::trim).collect();
    let end = source.iter().position(|line| line.starts_with("#ifdef")).context("#ifdef")?;
    let is_code = |line: u32| {
        let text = source.get(line as usize - 1).copied().unwrap_or_default();
        (line as usize) <= end
            && !["", "{", "}", "else", "break;"].contains(&text)
            && !text.starts_with("static")
            && !text.ends_with([':', '/'])
    };
    Ok(lines.into_iter().filter(|(line, _)| is_code(*line)).collect())
}

fn compare(ours: Lines, theirs: Lines, what: &str) -> Result<()> {
    let (ours, theirs) = (shared(ours)?, shared(theirs)?);
    ensure!(ours.len() >= 30, "{what}: {} lines: {ours:?}", ours.len());
    ensure!(ours.values().any(|hit| *hit) && ours.values().any(|hit| !*hit), "{what}: {ours:?}");
    let lines: BTreeSet<&u32> = ours.keys().chain(theirs.keys()).collect();
    let differ: Vec<_> = lines
        .into_iter()
        .map(|line| (line, ours.get(line), theirs.get(line)))
        .filter(|(_, ours, theirs)| ours != theirs)
        .collect();
    ensure!(differ.is_empty(), "{what}: line, ours, theirs: {differ:?}");
    Ok(())
}

#[test]
fn gcc_and_gcov_agree() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    compile(folder, "gcc", &["-shared", "-fPIC", "-fsanitize-coverage=trace-pc"], "libbranchy.so")?;
    compile(folder, "gcc", &["--coverage", "-DBRANCHY_MAIN", "-c"], "branchy.o")?;
    tool(folder, "gcc", ["--coverage", "branchy.o", "-o", "branchy"])?;
    for calls in RUNS {
        tool(folder, "./branchy", calls)?;
        let theirs = gcov(&tool(folder, "gcov", ["--stdout", "branchy.gcda"])?);
        // gcov adds up the counts of several runs.
        std::fs::remove_file(folder.join("branchy.gcda"))?;
        compare(covered(folder, calls)?, theirs, &format!("{calls:?}"))?;
    }
    Ok(())
}

#[test]
fn clang_and_llvm_cov_agree() -> Result<()> {
    // One point a block: a point that clang adds for an edge has the line of the branch, and is not reached
    // if the branch goes the other way.
    const GUARDS: &str = "-fsanitize-coverage=bb,trace-pc-guard,pc-table,no-prune";
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    compile(folder, "clang", &["-shared", "-fPIC", GUARDS], "libbranchy.so")?;
    compile(
        folder,
        "clang",
        &["-fprofile-instr-generate", "-fcoverage-mapping", "-DBRANCHY_MAIN"],
        "branchy",
    )?;
    for calls in RUNS {
        // Writes default.profraw anew each time.
        tool(folder, "./branchy", calls)?;
        tool(folder, "llvm-profdata", ["merge", "default.profraw", "-o", "profile"])?;
        let export = ["export", "-format=lcov", "-instr-profile=profile", "branchy"];
        let theirs = tracefile(&tool(folder, "llvm-cov", export)?);
        compare(covered(folder, calls)?, theirs, &format!("{calls:?}"))?;
    }
    Ok(())
}
