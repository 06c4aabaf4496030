//! Measurements of the recording path. The worker program makes them, because this crate does not link that
//! code.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Maximum size of the answer. A row has some hundred bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// A row of the worker's answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Name of the measurement.
    pub key: String,
    /// Median of the limit, in nanoseconds.
    pub limit: f64,
    /// Median of the product, in nanoseconds.
    pub ours: f64,
}

/// Runs `kcov-worker bench-record`, from the directory of this program.
///
/// # Errors
/// If it cannot be run, fails, or its answer is invalid.
pub fn measure() -> Result<Vec<Figure>> {
    let program = worker()?;
    let output = Command::new(&program)
        .args(["bench-record", "--json"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", program.display()))?;
    ensure!(output.status.success(), "{} bench-record ended with {}", program.display(), output.status);
    ensure!(
        output.stdout.len() <= ANSWER_MAX,
        "the answer of bench-record is longer than {ANSWER_MAX} bytes"
    );
    serde_json::from_slice(&output.stdout).context("the answer of bench-record")
}

fn worker() -> Result<PathBuf> {
    Ok(std::env::current_exe().context("the path of this program")?.with_file_name("kcov-worker"))
}
