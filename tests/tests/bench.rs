//! The benchmark runs and reports what it measured. No test checks how fast anything was.

use anyhow::{Context, Result, ensure};
use kcov_tests::binaries;
use serde_json::Value;
use std::process::Command;

/// Every measurement, in the order of the report.
const KEYS: [&str; 23] = [
    "noop",
    "live-view",
    "callers",
    "ioctl",
    "cycle-small",
    "cycle-large",
    "device-open",
    "file-open",
    "program",
    "handler-read",
    "handler-write",
    "pc",
    "cmp",
    "area-pc",
    "area-cmp",
    "unarmed",
    "trace-pc",
    "guard",
    "trace-pc-unarmed",
    "guard-unarmed",
    "cover-pc",
    "unique-seen",
    "shared-pc",
];

fn bench(arguments: &[&str]) -> Result<String> {
    let program = binaries::directory()?.join("kcov-broker");
    let output = Command::new(&program).arg("bench").args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "bench {arguments:?} ended with {}: {said}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn every_measurement_is_reported_with_its_limit() -> Result<()> {
    let report: Value = serde_json::from_str(&bench(&["--quick", "--rounds", "1", "--json"])?)?;
    assert_eq!(report["rounds"], 1);
    let rows = report["rows"].as_array().context("rows")?;
    let keys: Vec<_> = rows.iter().filter_map(|row| row["key"].as_str()).collect();
    assert_eq!(keys, KEYS);
    for row in rows {
        assert_eq!(row["placement"], "one_cpu", "{row}");
        for figure in ["limit", "ours", "ratio"] {
            let value = row[figure].as_f64().with_context(|| format!("{figure} of {row}"))?;
            assert!(value.is_finite() && value > 0.0, "{row}");
        }
        assert!(row["met"].is_boolean() && row["goal"].is_string() && row["aim"].is_string(), "{row}");
    }
    Ok(())
}

#[test]
fn one_measurement_is_reported_with_its_baseline_only() -> Result<()> {
    let table = bench(&["--rounds", "1", "--only", "file-open"])?;
    assert!(table.contains("no-op notification") && table.contains("open of a plain file"), "{table}");
    assert!(!table.contains("PC record") && !table.contains("4 callers"), "{table}");
    Ok(())
}
