//! In optimised code, each point stays in the function that it belongs to.

use super::asked::{decisions, places};
use anyhow::Result;
use kcov_tests::instrumented::Compiler;

/// The functions of the points of a call, in order, without repetitions in a row.
fn functions(compiler: Compiler, flags: &[&str], value: u64) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let library = compiler.library(folder.path(), "calls", flags)?;
    let found = decisions(&library, &[(0, value)], 1)?;
    let places = places(&["--handler", &library.to_string_lossy()], &found)?;
    let mut functions: Vec<String> = found[0].pcs.iter().map(|pc| places[pc].function.clone()).collect();
    functions.dedup();
    Ok(functions)
}

/// From -O2 on, gcc would end a function by a jump to the callback, which then sees the caller's address.
const GCC: &str = "-fno-optimize-sibling-calls";

#[test]
fn each_point_is_in_its_function() -> Result<()> {
    for (compiler, flags) in [
        (Compiler::Gcc, &["-O1"][..]),
        (Compiler::Gcc, &["-O2", GCC]),
        (Compiler::Gcc, &["-O3", GCC]),
        (Compiler::Clang, &["-O2"]),
        (Compiler::ClangCalls, &["-O2"]),
    ] {
        let context = format!("{compiler:?} {flags:?}");
        assert_eq!(functions(compiler, flags, 8)?, ["decide", "increase_for_seven"], "{context}");
        let called = functions(compiler, flags, 7)?;
        // gcc has a point at the end of a function, too.
        let end = (compiler == Compiler::Gcc).then_some("increase_for_seven");
        let expected = ["decide", "increase_for_seven", "increase"].into_iter().chain(end);
        assert_eq!(called, expected.collect::<Vec<_>>(), "{context}");
    }
    Ok(())
}
