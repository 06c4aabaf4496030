//! Users' own worker programs with instrumented code, built as a user would build them.

use super::asked::{decisions_of, places};
use super::branches::{QUESTIONS, assert_exact};
use anyhow::Result;
use kcov_tests::instrumented::Compiler;
use kcov_tests::package::Package;
use std::fs;
use std::path::Path;

/// The handler `branches` in Rust. It calls `decide`, whose declaration is inserted here.
const MAIN: &str = r#"
mod decide;

use kcov_worker::{Errno, handler};

fn main() -> std::process::ExitCode {
    let branches = handler::device("/dev/branches", 0x7101..=0x7101, |_request, arg, caller| {
        let [key, value] = [caller.read_array(arg)?, caller.read_array(arg + 8)?].map(u64::from_ne_bytes);
        Ok::<i64, Errno>(decide::decide(key as u32, value).into())
    });
    kcov_worker::main([branches])
}
"#;

/// The package with this declaration of `decide`, and other files.
fn package(folder: &Path, decide: &str, others: &[(&str, &str)]) -> Result<Package> {
    let files = [("src/main.rs", MAIN), ("src/decide.rs", decide)];
    Package::new(folder, "branches", &[&files[..], others].concat())
}

#[test]
fn a_program_with_an_instrumented_c_library_is_covered_in_that_library() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = Compiler::Gcc.source("decide");
    let declaration = "unsafe extern \"C\" {\n    pub safe fn decide(key: u32, value: u64) -> i32;\n}\n";
    let build_script = format!(
        "fn main() {{\n    cc::Build::new().compiler(\"gcc\").file({source:?})\
         .flag(\"-fsanitize-coverage=trace-pc,trace-cmp\").compile(\"decide\");\n}}\n"
    );
    let package = package(folder.path(), declaration, &[("build.rs", &build_script)])?;
    let program = package.build()?;
    let options = ["--worker", &program.to_string_lossy()];
    let found = decisions_of(&options, &QUESTIONS, 2)?;
    assert_exact(Compiler::Gcc, &source, &options, &found).map(drop)
}

#[test]
fn a_program_built_by_our_cargo_is_covered_in_its_own_code() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let decide = fs::read_to_string(Compiler::Rustc.source("decide"))?;
    let package = package(folder.path(), &decide, &[])?;
    let program = package.build_instrumented()?;
    let options = ["--worker", &program.to_string_lossy()];
    let mut found = decisions_of(&options, &QUESTIONS, 2)?;
    let places = places(&options, &found)?;
    let source = package.path("src/decide.rs");
    let is_there = |pc: &u64| Path::new(&places[pc].file) == source;
    for decision in &mut found {
        // The handler around it, and generic code instantiated for it, belong to its own code as well.
        assert!(decision.pcs.iter().any(|pc| !is_there(pc)), "{decision:x?}");
        decision.pcs.retain(is_there);
        decision.comparisons.retain(|record| is_there(&record[3]));
    }
    assert_exact(Compiler::Rustc, &source, &options, &found).map(drop)
}
