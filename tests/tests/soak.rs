//! The soak test for 20 seconds, or for ten minutes in the long variant. `kcov-soak --time 30m` runs it for
//! longer.

use anyhow::Result;
use kcov_tests::long;
use serde_json::Value;
use std::process::Command;

#[test]
fn random_tenants_leave_nothing_and_see_nothing_of_each_other() -> Result<()> {
    let time = if long() { "10m" } else { "20s" };
    let output = Command::new(env!("CARGO_BIN_EXE_kcov-soak")).args(["--json", "--time", time]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    print!("{said}");
    let summary: Value = serde_json::from_slice(&output.stdout)?;
    assert!(output.status.success(), "{summary:#}\n{said}");
    assert_eq!(summary["violations"].as_array().map(Vec::len), Some(0));
    // The run exercised everything that it is meant to.
    for (what, least) in
        [("instances", 100), ("records", 1000), ("pattern_rounds", 50), ("kills", 5), ("runs_beside", 1)]
    {
        assert!(summary[what].as_u64().is_some_and(|number| number >= least), "{what}: {summary:#}");
    }
    Ok(())
}
