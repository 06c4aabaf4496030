//! Handlers that a compiler instruments: what they record follows from the binary, in every run, and has its place in
//! the source.

use anyhow::{Context, Result, ensure};
use kcov_tests::binaries::{directory, workspace};
use kcov_tests::instrumented::{Compiler, link, succeed};
use kcov_tests::{Run, client, long};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Clients drop a call that has a PC outside the kernel's text.
const TEXT: std::ops::Range<u64> = 0xffff_ffff_8000_0000..0xffff_ffff_ff00_0000;
/// The switch of the function.
const CASES: [u64; 4] = [5, 1000, 70000, 0x1_0000_0000];
const KEY: u64 = 0x1234;

/// What the function was asked, and what that left.
#[derive(Debug, Default, PartialEq)]
struct Decision {
    key: u64,
    value: u64,
    pcs: Vec<u64>,
    /// Type, both operands, PC.
    comparisons: Vec<[u64; 4]>,
}

fn number(word: &str) -> Result<u64> {
    let number = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    number.with_context(|| format!("no number: {word}"))
}

fn numbers(words: &str) -> Result<Vec<u64>> {
    words.split_whitespace().map(number).collect()
}

/// Has the handler decide everything, as often as `rounds` says, which all leave the same.
fn decisions(library: &Path, rounds: u32) -> Result<Vec<Decision>> {
    let run = Run::new([client("branches_trace")?.into_os_string(), rounds.to_string().into()]);
    let outcome = run.option("--handler").option(&library.to_string_lossy()).output()?;
    outcome.assert_sound()?;
    let mut decisions: Vec<Decision> = Vec::new();
    for line in outcome.stdout.lines() {
        if let Some((question, _)) = line.split_once(" = ") {
            let [key, value] = numbers(question)?[..] else { anyhow::bail!("{line}") };
            decisions.push(Decision { key, value, ..Decision::default() });
            continue;
        }
        let last = decisions.last_mut().context("a question comes first")?;
        match line.split_once(' ').with_context(|| line.to_owned())? {
            ("pc", pcs) => last.pcs = numbers(pcs)?,
            ("cmp", words) => {
                last.comparisons.push(numbers(words)?.try_into().map_err(|_| anyhow::anyhow!("{line}"))?);
            }
            _ => anyhow::bail!("{line}"),
        }
    }
    ensure!(decisions.len() == 9, "{}", outcome.stdout);
    Ok(decisions)
}

/// The line of each PC, by `kcov-broker symbolize`, in the source of the function.
fn lines(library: &Path, source: &Path, decisions: &[Decision]) -> Result<BTreeMap<u64, u64>> {
    let of_comparisons =
        decisions.iter().flat_map(|decision| decision.comparisons.iter().map(|record| record[3]));
    let pcs: BTreeSet<u64> =
        decisions.iter().flat_map(|decision| decision.pcs.clone()).chain(of_comparisons).collect();
    let mut symbolize = Command::new(directory()?.join("kcov-broker"));
    symbolize
        .args(["symbolize", "--json", "--handler"])
        .arg(library)
        .args(pcs.iter().map(|pc| format!("{pc:#x}")));
    let mut lines = BTreeMap::new();
    for (pc, line) in pcs.iter().zip(succeed(&mut symbolize)?.lines()) {
        let value: serde_json::Value = serde_json::from_str(line)?;
        let place = &value["location"];
        assert_eq!(place["function"], "decide", "{line}");
        assert_eq!(place["file"].as_str().map(Path::new), Some(source), "{line}");
        lines.insert(*pc, place["line"].as_u64().context("a line")?);
    }
    Ok(lines)
}

/// The source, to ask where something stands.
struct Source(String);

impl Source {
    fn line(&self, text: &str) -> u64 {
        let at = self.0.lines().position(|line| line.contains(text));
        at.unwrap_or_else(|| panic!("no {text} in the source")) as u64 + 1
    }

    /// Lines of the blocks that a decision runs through. gcc calls back in each, also at the end of the function; clang
    /// and rustc where one does not follow from others.
    fn blocks(&self, compiler: Compiler, decision: &Decision) -> Vec<u64> {
        let has_key = decision.key == KEY;
        let case = CASES.iter().position(|case| *case == decision.value);
        let returned = match case {
            _ if has_key => self.line(if decision.value > 77 { "return 2" } else { "return 1" }),
            Some(case) => self.line(["return 3", "return 4", "return 6", "return 7"][case]),
            None if compiler == Compiler::Rustc => self.line("as i32"),
            None => self.line("return key < value"),
        };
        match compiler {
            Compiler::Gcc => {
                let second = self.line(if has_key { "value > 77" } else { "switch (value)" });
                vec![self.line("key == 0x1234"), second, returned, self.line("return key < value")]
            }
            Compiler::Clang | Compiler::ClangCalls => vec![self.line("{"), returned],
            Compiler::Rustc => vec![self.line("fn decide"), returned],
        }
    }

    /// Type, operands and line of the comparisons of a decision. Which of two variables comes first is the compiler's
    /// choice.
    fn comparisons(&self, compiler: Compiler, decision: &Decision) -> Vec<[u64; 4]> {
        let Decision { key, value, .. } = *decision;
        let c = compiler != Compiler::Rustc;
        let mut expected = vec![[5, KEY, key, self.line("key == 0x1234")]];
        if key == KEY {
            expected.push([7, 77, value, self.line("value > 77")]);
            return expected;
        }
        let switch = self.line(if c { "switch (value)" } else { "match value" });
        expected.extend(CASES.map(|case| [7, case, value, switch]));
        if !CASES.contains(&value) {
            let (first, second) = if compiler == Compiler::Gcc { (value, key) } else { (key, value) };
            expected.push([6, first, second, self.line(if c { "return key < value" } else { "as i32" })]);
        }
        expected
    }
}

#[test]
fn each_compilers_code_leaves_exactly_its_points_and_comparisons() -> Result<()> {
    let (runs, rounds) = if long() { (5, 1000) } else { (2, 50) };
    for compiler in Compiler::ALL {
        let folder = tempfile::tempdir()?;
        let library = compiler.library(folder.path())?;
        let found = decisions(&library, rounds)?;
        for _ in 1..runs {
            assert_eq!(decisions(&library, rounds)?, found, "{compiler:?}: another run");
        }
        let source = Source(fs::read_to_string(compiler.source())?);
        let lines = lines(&library, &compiler.source(), &found)?;
        for decision in &found {
            let blocks: Vec<u64> = decision.pcs.iter().map(|pc| lines[pc]).collect();
            assert_eq!(blocks, source.blocks(compiler, decision), "{compiler:?}: {decision:x?}");
            let at_line = |[kind, a, b, pc]: [u64; 4]| [kind, a, b, lines[&pc]];
            let comparisons: Vec<_> = decision.comparisons.iter().copied().map(at_line).collect();
            assert_eq!(comparisons, source.comparisons(compiler, decision), "{compiler:?}: {decision:x?}");
        }
        assert!(lines.keys().all(|pc| TEXT.contains(pc)), "{compiler:?}: {lines:x?}");
        let apart = lines.keys().zip(lines.keys().skip(1)).all(|(one, next)| next - one >= 8);
        assert!(apart, "{compiler:?}: {lines:x?}");
    }
    Ok(())
}

/// A library has the same PCs whatever its name is and whatever stands beside it.
#[test]
fn a_library_keeps_its_pcs_beside_others() -> Result<()> {
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let library = Compiler::Gcc.library(one.path())?;
    let found = decisions(&library, 1)?;
    let copy = two.path().join("libother.so");
    fs::copy(&library, &copy)?;
    assert_eq!(decisions(&copy, 1)?, found, "its name has no part in it");

    let probe = kcov_tests::library("probe")?;
    let program = client("branches_trace")?;
    let beside = Run::new([program]).option("--handler").option(&probe.to_string_lossy());
    let outcome = beside.option("--handler").option(&library.to_string_lossy()).output()?;
    outcome.assert_sound()?;
    let first = format!("{:#x}", found[0].pcs[0]);
    assert!(outcome.stdout.contains(&first), "{first} in {}", outcome.stdout);
    Ok(())
}

/// `kcov-broker cargo` instruments the crates of the workspace, and no dependency.
#[test]
fn cargo_instruments_the_handlers_crate_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |path: &str, text: &str| -> Result<()> {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        Ok(fs::write(path, text)?)
    };
    write("plain/Cargo.toml", "[package]\nname = \"plain\"\nedition = \"2024\"\n[workspace]\n")?;
    let plain =
        "#[inline(never)]\npub fn is_less(a: u64, b: u64) -> bool { if a == 77 { return false; } a < b }\n";
    write("plain/src/lib.rs", plain)?;
    let manifest = "[package]\nname = \"handler\"\nedition = \"2024\"\n[workspace]\n\
        [lib]\ncrate-type = [\"staticlib\"]\n[dependencies]\nplain = { path = \"../plain\" }\n";
    write("handler/Cargo.toml", manifest)?;
    let handler = "#[unsafe(no_mangle)]\npub extern \"C\" fn decide(key: u32, value: u64) -> i32 {\n    \
        if key == 0x1234 { return 1; }\n    plain::is_less(key.into(), value).into()\n}\n";
    write("handler/src/lib.rs", handler)?;

    let mut cargo = Command::new(directory()?.join("kcov-broker"));
    cargo.args(["cargo", "build", "--release", "--offline", "--target-dir", "target"]);
    // The tests themselves may be run by a cargo that sets this.
    succeed(cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "true").current_dir(folder.path().join("handler")))?;
    let library = link(folder.path(), &folder.path().join("handler/target/release/libhandler.a"))?;
    let found = decisions(&library, 1)?;
    assert!(found.iter().all(|decision| !decision.pcs.is_empty()), "{found:x?}");
    let operands =
        |decision: &Decision| decision.comparisons.iter().map(|record| record[1]).collect::<Vec<_>>();
    assert!(
        found.iter().all(|decision| operands(decision) == [KEY]),
        "the dependency is not covered: {found:x?}"
    );
    Ok(())
}

/// What is installed for handlers in C is enough to build one.
#[test]
fn pkg_config_finds_the_header() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let prefix = folder.path().join("usr");
    succeed(Command::new(workspace().join("deploy/install-sdk")).arg(&prefix))?;
    let ask = |what: &str| {
        let mut command = Command::new("pkg-config");
        command.args([what, "kcov-handler"]).env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"));
        succeed(&mut command).map(|said| said.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    let flags = [ask("--cflags")?, ask("--variable=gcc_coverage")?].concat();
    let library = folder.path().join("libprobe.so");
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC"]).args(flags).arg("-o").arg(&library);
    succeed(gcc.arg(workspace().join("tests/handlers/probe.c")))?;
    let program = client("handler_probe")?;
    let run = Run::new([program.into_os_string(), "records".into()]);
    let outcome = run.option("--handler").option(&library.to_string_lossy()).output()?;
    assert!(outcome.stdout.starts_with("pcs "), "{}", outcome.stderr);
    assert!(
        !outcome.stdout.starts_with("pcs 3 "),
        "its own records and those of the instrumentation: {}",
        outcome.stdout
    );
    ensure!(ask("--modversion")? == [env!("CARGO_PKG_VERSION")], "the version of the package");
    Ok(())
}
