//! What the product costs, beside what it could cost at best.
//!
//! Absolute times say more about the machine than about the program. So each measurement runs beside its *limit*
//! — the smallest supervisor that can serve the same client, or the kernel's own append loop — in alternating
//! batches of the same minutes and on the same CPUs, and what counts is the ratio.
//!
//! | module | holds |
//! |---|---|
//! | `plan` | the measurements and their goals |
//! | [`workload`] | what the client does |
//! | `client` | the client: does batches on request |
//! | `bare` | the limit: the bare supervisor |
//! | `side` | client and supervisor as a process that is asked for batches |
//! | `recording` | figures of the recording path, from the worker program |
//! | `placement` | on which CPUs |
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

use anyhow::{Context, Result};
use placement::Cpus;
use plan::{COMPARISONS, Comparison, RECORDINGS};
use side::Side;
use std::io::IsTerminal;
use std::process::ExitCode;
use table::{Report, Row, Unit, median};
use workload::Workload;

/// Rounds of a full and of a quick run: odd, so that the median is one of them.
const ROUNDS: u32 = 61;
const ROUNDS_QUICK: u32 = 15;

/// Measures what kcov-broker costs, beside the least that it could cost
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Take fewer rounds: the whole in less than 40 seconds
    #[arg(long)]
    quick: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Alternating batches of each side
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Measure once more wherever the scheduler puts the processes
    #[arg(long)]
    unpinned: bool,
    /// Measure this alone, beside the no-op notification that goals are counted in
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

/// Measures and prints. A missed goal is no failure: it is printed as missed.
///
/// # Errors
/// If a side cannot be started, fails, or gives no answer.
pub fn run(args: &BenchArgs) -> Result<ExitCode> {
    let cpus = Cpus::given()?;
    let mut rows = Vec::new();
    for &placement in args.placements() {
        cpus.place(placement)?;
        rows.extend(notifications(args, placement)?);
        if args.only.is_none() {
            rows.extend(recordings(placement)?);
        }
    }
    let kernel = nix::sys::utsname::uname().context("uname")?.release().to_string_lossy().into_owned();
    let report = Report { kernel, cpus: cpus.count(), rounds: args.rounds(), rows };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
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
            key: workload.word(),
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

/// Nanoseconds of one operation under the limit and under the product.
fn compare(workload: Workload, rounds: u32) -> Result<(f64, f64)> {
    let operations = workload.batch();
    let mut limit = Side::limit(workload)?;
    let mut product = Side::product(workload)?;
    // Not counted: first touches of code and memory.
    limit.batch(operations)?;
    product.batch(operations)?;
    let (mut limits, mut products) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        // Whoever comes second finds the caches and the clock of the CPU as the first left them: take turns.
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
        let figure = figure.with_context(|| format!("bench-record gave no figure for {}", plan.key))?;
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

/// Tells a person who waits what is being measured.
fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("measuring: {what}");
    }
}
