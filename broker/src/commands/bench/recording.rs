//! Figures of the recording path, which the worker program measures in itself: this crate does not link it.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Largest answer that is read: a row is some hundred bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// One row of the worker's answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Names the measurement.
    pub key: String,
    /// Median of the limit, nanoseconds.
    pub limit: f64,
    /// Median of the product, nanoseconds.
    pub ours: f64,
}

/// Runs `kcov-worker bench-record`, which lies beside this program.
///
/// # Errors
/// If it cannot be run, fails, or answers no figures.
pub fn measure() -> Result<Vec<Figure>> {
    let program = worker()?;
    let output = Command::new(&program)
        .args(["bench-record", "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    ensure!(output.status.success(), "{} bench-record ended with {}", program.display(), output.status);
    ensure!(output.stdout.len() <= ANSWER_MAX, "bench-record answered more than {ANSWER_MAX} bytes");
    serde_json::from_slice(&output.stdout).context("the answer of bench-record")
}

fn worker() -> Result<PathBuf> {
    Ok(std::env::current_exe().context("the path of this program")?.with_file_name("kcov-worker"))
}
