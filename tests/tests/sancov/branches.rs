//! A function with known branches and comparisons leaves exactly its points and comparisons, in order, from
//! each compiler.

use super::asked::{Decision, Question, Source, decisions, decisions_of, places};
use anyhow::Result;
use kcov_tests::binaries::workspace;
use kcov_tests::client::library_with;
use kcov_tests::instrumented::{Compiler, link};
use kcov_tests::{Run, long};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Clients drop a call with a PC outside the kernel's text.
const TEXT: std::ops::Range<u64> = 0xffff_ffff_8000_0000..0xffff_ffff_ff00_0000;
/// The cases of the function's switch.
const CASES: [u64; 4] = [5, 1000, 70000, 0x1_0000_0000];
pub const KEY: u64 = 0x1234;
/// Questions for each path through the function.
pub const QUESTIONS: [Question; 9] = [
    (KEY, 78),
    (KEY, 77),
    (0, CASES[0]),
    (0, CASES[1]),
    (0, CASES[2]),
    (0, CASES[3]),
    (8, 9),
    (8, 6),
    (0xfedc, 0xffff_ffff_0000_0005),
];

/// Lines of the blocks on the path of a decision. gcc calls back in each block, also at the end of the
/// function; clang and rustc only where a block does not follow from others.
fn blocks(source: &Source, compiler: Compiler, decision: &Decision) -> Vec<u64> {
    let has_key = decision.key == KEY;
    let case = CASES.iter().position(|case| *case == decision.value);
    let returned = match case {
        _ if has_key => source.line(if decision.value > 77 { "return 2" } else { "return 1" }),
        Some(case) => source.line(["return 3", "return 4", "return 6", "return 7"][case]),
        None if compiler == Compiler::Rustc => source.line("as i32"),
        None => source.line("return key < value"),
    };
    match compiler {
        Compiler::Gcc => {
            let second = source.line(if has_key { "value > 77" } else { "switch (value)" });
            vec![source.line("key == 0x1234"), second, returned, source.line("return key < value")]
        }
        Compiler::Clang | Compiler::ClangCalls => vec![source.line("{"), returned],
        Compiler::Rustc => vec![source.line("fn decide"), returned],
    }
}

/// Type, operands and line of the comparisons of a decision. The compiler chooses the order of two variables.
fn comparisons(source: &Source, compiler: Compiler, decision: &Decision) -> Vec<[u64; 4]> {
    let Decision { key, value, .. } = *decision;
    let c = compiler != Compiler::Rustc;
    let mut expected = vec![[5, KEY, key, source.line("key == 0x1234")]];
    if key == KEY {
        expected.push([7, 77, value, source.line("value > 77")]);
        return expected;
    }
    let switch = source.line(if c { "switch (value)" } else { "match value" });
    expected.extend(CASES.map(|case| [7, case, value, switch]));
    if !CASES.contains(&value) {
        let (first, second) = if compiler == Compiler::Gcc { (value, key) } else { (key, value) };
        expected.push([6, first, second, source.line(if c { "return key < value" } else { "as i32" })]);
    }
    expected
}

/// Asserts that decisions left exactly the records that this compiler's code should leave, with their places.
/// Returns the PCs.
pub fn assert_exact(
    compiler: Compiler,
    source: &Path,
    options: &[&str],
    found: &[Decision],
) -> Result<Vec<u64>> {
    let text = Source::read(source)?;
    let mut lines = BTreeMap::new();
    for (pc, place) in places(options, found)? {
        assert_eq!((place.function.as_str(), Path::new(&place.file)), ("decide", source), "{pc:#x}");
        lines.insert(pc, place.line);
    }
    for decision in found {
        let passed: Vec<u64> = decision.pcs.iter().map(|pc| lines[pc]).collect();
        assert_eq!(passed, blocks(&text, compiler, decision), "{compiler:?}: {decision:x?}");
        let at_line = |[kind, a, b, pc]: [u64; 4]| [kind, a, b, lines[&pc]];
        let compared: Vec<_> = decision.comparisons.iter().copied().map(at_line).collect();
        assert_eq!(compared, comparisons(&text, compiler, decision), "{compiler:?}: {decision:x?}");
    }
    Ok(lines.into_keys().collect())
}

#[test]
fn each_compilers_code_leaves_exactly_its_points_and_comparisons() -> Result<()> {
    let (runs, rounds) = if long() { (5, 1000) } else { (2, 50) };
    for compiler in Compiler::ALL {
        let folder = tempfile::tempdir()?;
        let library = compiler.library(folder.path(), "decide", &[])?;
        let found = decisions(&library, &QUESTIONS, rounds)?;
        for _ in 1..runs {
            assert_eq!(decisions(&library, &QUESTIONS, rounds)?, found, "{compiler:?}: another run");
        }
        let options = ["--handler", &library.to_string_lossy()];
        let pcs = assert_exact(compiler, &compiler.source("decide"), &options, &found)?;
        assert!(pcs.iter().all(|pc| TEXT.contains(pc)), "{compiler:?}: {pcs:x?}");
        assert!(pcs.windows(2).all(|pair| pair[1] - pair[0] >= 8), "{compiler:?}: {pcs:x?}");
    }
    Ok(())
}

/// The PCs of a library depend neither on its name nor on other libraries.
#[test]
fn a_library_keeps_its_pcs_beside_others() -> Result<()> {
    let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let library = Compiler::Gcc.library(one.path(), "decide", &[])?;
    let found = decisions(&library, &QUESTIONS, 1)?;
    let copy = two.path().join("libother.so");
    fs::copy(&library, &copy)?;
    assert_eq!(decisions(&copy, &QUESTIONS, 1)?, found, "the PCs depend on the file name");

    let probe = kcov_tests::library("probe")?;
    let (probe, library) = (probe.to_string_lossy(), library.to_string_lossy());
    let beside = decisions_of(&["--handler", &probe, "--handler", &library], &QUESTIONS, 1)?;
    assert_eq!(beside, found, "the PCs depend on another library");
    Ok(())
}

/// Two libraries with the same build id map to the same PCs: the second gets others, which still lead to its
/// source, and the log reports it.
#[test]
fn a_library_whose_pcs_are_taken_gets_others_and_is_reported() -> Result<()> {
    const ID: &str = "-Wl,--build-id=0x0123456789abcdef0123456789abcdef01234567";
    let folder = tempfile::tempdir()?;
    let alone = Compiler::Gcc.library(folder.path(), "decide", &[])?;
    let library = link(folder.path(), &alone.with_file_name("function.o"), &[ID])?;
    let home = decisions(&library, &QUESTIONS, 1)?;
    let include = workspace().join("worker/include");
    let flags = ["-g", "-shared", "-fPIC", "-fsanitize-coverage=trace-pc", ID].map(OsString::from);
    let other = library_with("ids", "_of_one_build", flags.into_iter().chain(["-I".into(), include.into()]))?;
    let (other, library) = (other.to_string_lossy(), library.to_string_lossy());
    let options = ["--handler", &other, "--handler", &library];
    let moved = decisions_of(&options, &QUESTIONS, 1)?;
    assert_exact(Compiler::Gcc, &Compiler::Gcc.source("decide"), &options, &moved)?;
    assert!(home.iter().zip(&moved).all(|(home, moved)| home.pcs != moved.pcs), "{home:x?} {moved:x?}");
    let run = options.iter().fold(Run::new(["true"]).logged(), |run, option| run.option(option));
    let events = run.output()?.events();
    let told: Vec<_> = events.iter().filter(|event| event.name() == "pcs_moved").collect();
    assert!(matches!(told[..], [one] if one.field("module").as_deref() == Some(&library)), "{told:?}");
    Ok(())
}
