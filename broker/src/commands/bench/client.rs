//! The timed process: does batches on request.
//!
//! A line on standard input is a number of operations; the answer on standard output is the nanoseconds that
//! they took. End of input ends the process. Neither read nor write is notified in the profiles that are
//! measured, so the requests cost the measured side nothing.

use super::bare;
use super::workload::{Session, Workload};
use anyhow::{Context, Result};
use std::io::{BufRead, Write};
use std::process::ExitCode;

/// Name of the hidden subcommand.
pub const SUBCOMMAND: &str = "bench-client";
/// Option that puts the bare supervisor around the client.
pub const BARE: &str = "--bare";

/// The process that `bench` times.
#[derive(Debug, clap::Args)]
pub struct BenchClientArgs {
    /// What it does.
    workload: Workload,
    /// Run it under the smallest supervisor possible.
    #[arg(long)]
    bare: bool,
}

/// Serves requests for batches until its input ends.
///
/// # Errors
/// If an operation fails, or a request is no number.
pub fn client(args: BenchClientArgs) -> Result<ExitCode> {
    if args.bare {
        return bare::supervise(args.workload);
    }
    let session = Session::prepare(args.workload)?;
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let operations = line.parse().with_context(|| format!("{line:?} is no number of operations"))?;
        let elapsed = session.batch(operations)?;
        writeln!(output, "{}", elapsed.as_nanos())?;
        output.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}
