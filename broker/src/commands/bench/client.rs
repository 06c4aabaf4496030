//! The process that is timed: it runs batches on request.
//!
//! Each line on standard input is a number of operations. The answer on standard output is the time that they
//! took, in nanoseconds. The process exits at the end of its input. The measured profiles do not trap read
//! and write, so these requests do not affect the measurement.

use super::bare;
use super::workload::{Session, Workload};
use anyhow::{Context, Result};
use std::io::{BufRead, Write};
use std::process::ExitCode;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "bench-client";
/// Option that puts the bare supervisor around the client.
pub const BARE: &str = "--bare";

/// Options of the process that `bench` times.
#[derive(Debug, clap::Args)]
pub struct BenchClientArgs {
    /// Its operations.
    workload: Workload,
    /// Run it under the bare supervisor.
    #[arg(long)]
    bare: bool,
}

/// Runs batches until the input ends.
///
/// # Errors
/// If an operation fails, or a request is not a number.
pub fn client(args: BenchClientArgs) -> Result<ExitCode> {
    if args.bare {
        return bare::supervise(args.workload);
    }
    let session = Session::prepare(args.workload)?;
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let operations = line.parse().with_context(|| format!("{line:?} is not a number of operations"))?;
        let elapsed = session.batch(operations)?;
        writeln!(output, "{}", elapsed.as_nanos())?;
        output.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}
