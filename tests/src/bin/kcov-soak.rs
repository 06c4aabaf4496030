//! Runs random tenants against long-lived brokers, for any time. Needs root.

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use kcov_tests::soak::acts::Theme;
use kcov_tests::soak::inside::Driver;
use kcov_tests::soak::{self, Plan};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Runs random tenants against long-lived brokers and checks from outside what must hold
#[derive(Debug, Parser)]
#[command(name = "kcov-soak", version)]
struct Arguments {
    /// Duration in seconds, or with a unit (30m)
    #[arg(long, default_value = "20s", value_parser = parse_time)]
    time: Duration,

    /// Random seed: the same seed makes the same choices [default: the clock]
    #[arg(long)]
    seed: Option<u64>,

    /// Number of long-lived brokers; their themes alternate: hostile tenants, real clients, clients whose
    /// workers are killed
    #[arg(long, default_value_t = 3)]
    brokers: usize,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,

    #[command(subcommand)]
    inside: Option<Inside>,
}

#[derive(Debug, Subcommand)]
enum Inside {
    /// The command of a long-lived broker
    #[command(hide = true)]
    Inside { theme: String, seconds: u64, seed: u64, clients: PathBuf, output: PathBuf },
}

fn parse_time(text: &str) -> Result<Duration> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[number.len()..] {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        unit => bail!("unknown unit '{unit}': use s, m or h"),
    };
    Ok(Duration::from_secs(number.parse::<u64>()?.saturating_mul(seconds)))
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Inside::Inside { theme, seconds, seed, clients, output }) = arguments.inside {
        let theme = Theme::named(&theme).context("unknown theme")?;
        let driver = Driver { theme, time: Duration::from_secs(seconds), seed, clients, output };
        println!("{}", serde_json::to_string(&driver.run())?);
        return Ok(ExitCode::SUCCESS);
    }
    let clock = || {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |time| time.as_secs())
    };
    let plan = Plan {
        time: arguments.time,
        seed: arguments.seed.unwrap_or_else(clock),
        brokers: arguments.brokers,
        progress: true,
    };
    let summary = soak::run(&plan)?;
    match arguments.json {
        true => println!("{}", serde_json::to_string_pretty(&summary)?),
        false => println!("{summary}"),
    }
    Ok(ExitCode::from(u8::from(!summary.violations.is_empty())))
}
