//! `kcov-broker bench`: measures the cost of kcov-broker, compared with the lowest possible cost.
//!
//! Absolute times depend on the machine more than on the program. So each measurement is compared with its
//! *limit*: the smallest supervisor that can serve the same client, or the kernel's own append loop. Both run
//! in alternating batches on the same CPUs, and the ratio is the result.
//!
//! | module | holds |
//! |---|---|
//! | `plan` | the measurements and their goals |
//! | [`workload`] | the operations of the client |
//! | `client` | the client: runs batches on request |
//! | `bare` | the limit: the bare supervisor |
//! | `side` | a client and its supervisor |
//! | `recording` | measurements of the recording path, made by the worker program |
//! | `placement` | the CPUs to run on |
//! | [`table`] | rows, goals, report |

mod bare;
mod client;
mod placement;
mod plan;
mod recording;
mod side;
pub mod table;
pub mod workload;

pub use client::{BenchClientArgs, client};
pub use placement::Placement;

use crate::logs::print_line;
use anyhow::{Context, Result};
use placement::Cpus;
use plan::{COMPARISONS, Comparison, RECORDINGS};
use side::Side;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use table::{Results, Row, Unit, median};
use workload::Workload;

/// Rounds of a full and of a quick run. Odd, so that the median is a measured value.
const ROUNDS: u32 = 61;
const ROUNDS_QUICK: u32 = 15;

/// Options of `kcov-broker bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Run fewer rounds; takes less than 40 seconds
    #[arg(long)]
    quick: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Number of alternating batches of each side
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Also measure without pinning processes to a CPU
    #[arg(long)]
    unpinned: bool,
    /// Only measure this, and the no-op notification that is the unit of some goals
    #[arg(long, value_name = "WHAT")]
    only: Option<Workload>,
}

impl BenchArgs {
    fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { ROUNDS_QUICK } else { ROUNDS })
    }

    fn placements(&self) -> &'static [Placement] {
        if self.unpinned { &[Placement::OneCpu, Placement::Unpinned] } else { &[Placement::OneCpu] }
    }

    fn wants(&self, workload: Workload) -> bool {
        self.only.is_none_or(|only| workload == only || workload == Workload::Noop)
    }
}

/// Measures and prints the results. A missed goal is reported but is not an error.
///
/// # Errors
/// If a side cannot be started, fails, or does not answer.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    let cpus = Cpus::available()?;
    let mut rows = Vec::new();
    for &placement in args.placements() {
        cpus.place(placement)?;
        rows.extend(notifications(args, placement)?);
        if args.only.is_none() {
            rows.extend(recordings(placement)?);
        }
    }
    let kernel = nix::sys::utsname::uname().context("uname")?.release().to_string_lossy().into_owned();
    let results = Results { kernel, cpus: cpus.count(), rounds: args.rounds(), rows };
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&results)?)?;
    } else {
        write!(out, "{results}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn notifications(args: &BenchArgs, placement: Placement) -> Result<Vec<Row>> {
    let mut notification = f64::NAN;
    let mut rows = Vec::new();
    for comparison in COMPARISONS.iter().filter(|comparison| args.wants(comparison.workload)) {
        let Comparison { workload, what, unit, goal, aim } = *comparison;
        progress(what);
        let (limit, ours) = compare(workload, args.rounds()).context(what)?;
        if workload == Workload::Noop {
            notification = limit;
        }
        let (limit, ours) = (unit.from_nanoseconds(limit), unit.from_nanoseconds(ours));
        let met = goal.is_met(limit, ours, notification);
        rows.push(Row {
            key: workload.name(),
            what,
            placement,
            unit,
            limit,
            ours,
            ratio: ours / limit,
            goal,
            aim,
            met,
        });
    }
    Ok(rows)
}

/// Nanoseconds per operation of the limit and of the product.
fn compare(workload: Workload, rounds: u32) -> Result<(f64, f64)> {
    let operations = workload.batch();
    let mut limit = Side::limit(workload)?;
    let mut product = Side::product(workload)?;
    // Warm-up: the first batch also loads code and memory.
    limit.batch(operations)?;
    product.batch(operations)?;
    let (mut limits, mut products) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // The second side finds the caches and the CPU frequency that the first one left, so they take turns.
        if round.is_multiple_of(2) {
            limits.push(limit.batch(operations)?);
            products.push(product.batch(operations)?);
        } else {
            products.push(product.batch(operations)?);
            limits.push(limit.batch(operations)?);
        }
    }
    product.finish()?;
    limit.finish()?;
    Ok((median(limits), median(products)))
}

fn recordings(placement: Placement) -> Result<Vec<Row>> {
    progress("records");
    let figures = recording::measure()?;
    let row = |plan: &plan::Recording| {
        let figure = figures.iter().find(|figure| figure.key == plan.key);
        let figure = figure.with_context(|| format!("bench-record reported no value for {}", plan.key))?;
        Ok(Row {
            key: plan.key.to_owned(),
            what: plan.what,
            placement,
            unit: Unit::Nanoseconds,
            limit: figure.limit,
            ours: figure.ours,
            ratio: figure.ours / figure.limit,
            goal: plan.goal,
            aim: plan.aim,
            met: plan.goal.is_met(figure.limit, figure.ours, f64::NAN),
        })
    };
    RECORDINGS.iter().map(row).collect()
}

/// Shows what is being measured.
fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        print_line(format_args!("measuring: {what}"));
    }
}
