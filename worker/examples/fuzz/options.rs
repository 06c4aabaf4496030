//! Command-line options.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Finds crashes and hangs of a device by coverage-guided fuzzing.
#[derive(Debug, clap::Parser)]
#[command(name = "fuzz")]
pub struct Options {
    /// Path of the device
    #[arg(long, value_name = "PATH")]
    pub device: PathBuf,

    /// Its ioctl requests: FIRST-LAST, or a single one
    #[arg(long, value_name = "RANGE", value_parser = parse_range)]
    pub requests: RangeInclusive<u32>,

    /// Seed of the random choices; the same seed makes the same choices
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Stop after N request sequences
    #[arg(long, value_name = "N")]
    pub executions: Option<u64>,

    /// Stop after SECONDS
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub time: Option<Duration>,

    /// Stop after N different crashes and hangs; fail if a limit is reached with fewer
    #[arg(long, value_name = "N")]
    pub crashes: Option<usize>,

    /// Do not use comparisons
    #[arg(long)]
    pub no_cmp: bool,

    /// Size of the memory that an argument points to; zeros follow it
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub memory: u16,

    /// Files with initial contents for that memory
    #[arg(long, value_name = "FILE")]
    pub sample: Vec<PathBuf>,

    /// An EIO after at least MS milliseconds is a hang and not a crash; use somewhat less than the deadline
    /// of the run
    #[arg(long, value_name = "MS", default_value_t = 250)]
    pub hang: u64,

    /// Write the covered PCs to FILE at the end, one per line, for `kcov-broker symbolize`
    #[arg(long, value_name = "FILE")]
    pub pcs: Option<PathBuf>,

    /// Print one line of JSON at the end; progress goes to standard error
    #[arg(long)]
    pub json: bool,
}

fn parse_number(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|_| format!("'{text}' is not a number"))
}

fn parse_range(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = parse_number(first)?..=parse_number(last)?;
    if range.is_empty() { Err("LAST is less than FIRST".into()) } else { Ok(range) }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("'{text}' is not a number"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_requests() {
        assert_eq!(parse_range("0x10-0x1f"), Ok(0x10..=0x1f));
        assert_eq!(parse_range("7"), Ok(7..=7));
        assert!(parse_range("7-6").is_err() && parse_range("x").is_err() && parse_range("").is_err());
    }
}
