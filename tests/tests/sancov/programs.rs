//! Worker programs of a user's own, built as a user would, with instrumented code in them.

use super::asked::{decisions_of, places};
use super::branches::{QUESTIONS, assert_exact};
use anyhow::Result;
use kcov_tests::instrumented::Compiler;
use kcov_tests::package::Package;
use std::fs;
use std::path::Path;

/// The handler `branches` in Rust; it calls `decide`, which is declared where this says.
const MAIN: &str = r#"
mod decide;

use kcov_worker::Errno;
use kcov_worker::handler::{Answer, Caller, Claim, Handler, OpenFile, OpenRequest};

struct Branches;

impl Handler for Branches {
    fn name(&self) -> &str {
        "branches"
    }
    fn claims(&self) -> Vec<Claim> {
        vec![Claim::device("/dev/branches", 0x7101..=0x7101)]
    }
    fn open(&mut self, _: &OpenRequest<'_>, _: &mut Caller<'_>) -> Result<Box<dyn OpenFile>, Errno> {
        Ok(Box::new(Branches))
    }
}

impl OpenFile for Branches {
    fn ioctl(&mut self, _: u32, arg: u64, caller: &mut Caller<'_>) -> Answer {
        let (key, value) = (caller.read_array(arg), caller.read_array(arg + 8));
        let (Ok(key), Ok(value)) = (key, value) else { return Errno::EFAULT.into() };
        Answer::Value(decide::decide(u64::from_ne_bytes(key) as u32, u64::from_ne_bytes(value)).into())
    }
}

fn main() -> std::process::ExitCode {
    kcov_worker::main([Box::new(Branches)])
}
"#;

/// The package with this declaration of `decide`, and other files.
fn package(folder: &Path, decide: &str, others: &[(&str, &str)]) -> Result<Package> {
    let files = [("src/main.rs", MAIN), ("src/decide.rs", decide)];
    Package::new(folder, "branches", &[&files[..], others].concat())
}

#[test]
fn a_program_with_an_instrumented_library_in_c_is_covered_where_that_is() -> Result<()> {
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
fn a_program_that_our_cargo_built_is_covered_where_its_own_code_is() -> Result<()> {
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
        // The handler around it, and generic code that is built for it, are its own code as well.
        assert!(decision.pcs.iter().any(|pc| !is_there(pc)), "{decision:x?}");
        decision.pcs.retain(is_there);
        decision.comparisons.retain(|record| is_there(&record[3]));
    }
    assert_exact(Compiler::Rustc, &source, &options, &found).map(drop)
}
