//! How many cases a property is tried with: proptest's own number (`PROPTEST_CASES`), or with `KCOV_LONG=1` as many
//! as stand in for a fuzzer, which would need a nightly compiler.

use proptest::test_runner::Config;

/// Cases of a long run: some minutes for each property, optimised.
const LONG: u32 = 2_000_000;

/// The configuration of every property of this package that a fuzzer would be of use for.
pub fn config() -> Config {
    let long = std::env::var_os("KCOV_LONG").is_some_and(|value| value == "1");
    if long { Config::with_cases(LONG) } else { Config::default() }
}
