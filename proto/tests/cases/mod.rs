//! The number of cases for each property: proptest's default (`PROPTEST_CASES`), or with `KCOV_LONG=1` as
//! many as a short fuzzing session. A real fuzzer would need a nightly compiler.

use proptest::test_runner::Config;

/// Cases of a long run: some minutes for each property in a release build.
const LONG: u32 = 2_000_000;

/// Configuration of every property of this package that a fuzzer would be useful for.
pub fn config() -> Config {
    let long = std::env::var_os("KCOV_LONG").is_some_and(|value| value == "1");
    if long { Config::with_cases(LONG) } else { Config::default() }
}
