//! `kcov-broker status`: prints the tenants of this machine.

use crate::live::catalogue;
use crate::live::figures;
use crate::live::selection::{Selected, Selection};
use crate::live::tenant_view::TenantView;
use crate::logs::{print_line, print_message};
use crate::printable;
use anyhow::Result;
use kcov_proto::sections::DropReason;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Show the tenants of this machine and their counters
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    selection: Selection,

    /// Print everything as one JSON object: {"tenants": [...], "refused": [...]}
    #[arg(long)]
    json: bool,

    /// First remove the segments that your dead brokers left behind; as root, those of all users
    #[arg(long)]
    sweep: bool,
}

/// The JSON output.
#[derive(Serialize)]
struct Document<'a> {
    tenants: &'a [TenantView],
    /// Files that are named like segments but are not valid.
    refused: Vec<Refused<'a>>,
}

#[derive(Serialize)]
struct Refused<'a> {
    segment: &'a str,
    reason: &'a str,
}

/// Prints the tenants.
///
/// # Errors
/// If the segments cannot be listed, or if no tenant has one of the names.
pub fn run(args: &StatusArgs) -> Result<ExitCode> {
    if args.sweep {
        let swept = catalogue::sweep(true);
        print_message(format_args!("removed {swept} segments of dead brokers"));
    }
    let selected = args.selection.find()?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let refused = selected.refused.iter().map(|(segment, reason)| Refused { segment, reason }).collect();
        let document = Document { tenants: &selected.tenants, refused };
        writeln!(out, "{}", printable::to_json_pretty(&document)?)?;
    } else {
        let text = text(&selected, !args.selection.names.is_empty());
        out.write_all(printable::lines(&text).as_bytes())?;
        selected.notes.iter().for_each(print_line);
    }
    Ok(ExitCode::SUCCESS)
}

fn text(selected: &Selected, in_detail: bool) -> String {
    match &selected.tenants[..] {
        [] => "no tenants\n".to_owned(),
        tenants if in_detail => tenants.iter().map(detail).collect::<Vec<_>>().join("\n"),
        tenants => table(tenants),
    }
}

/// Titles of the columns; the first [`WORDS`] hold text, the others numbers.
const TITLES: [&str; 13] = [
    "NAME", "USER", "STATE", "PID", "UP", "CALLS", "P50", "P99", "RECORDS", "LOST", "INST", "AREAS",
    "CRASHES",
];
const WORDS: usize = 3;

/// Formats one line per tenant; each column is as wide as its widest cell.
fn table(tenants: &[TenantView]) -> String {
    let rows: Vec<[String; TITLES.len()]> =
        std::iter::once(TITLES.map(str::to_owned)).chain(tenants.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: [usize; TITLES.len()] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Writing to a String cannot fail.
            let _ = match column < WORDS {
                true => write!(line, "{cell:<width$}  "),
                false => write!(line, "{cell:>width$}  "),
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(tenant: &TenantView) -> [String; TITLES.len()] {
    let TenantView { counts, tally, .. } = tenant;
    [
        tenant.name.to_string(),
        tenant.runs_as().to_owned(),
        tenant.state.name().to_owned(),
        tenant.pid.to_string(),
        figures::duration(tenant.uptime_seconds),
        figures::count(tally.notifications),
        figures::time(tenant.latency_p50_ns),
        figures::time(tenant.latency_p99_ns),
        figures::count(tally.records),
        figures::count(tally.records_lost),
        figures::count(counts.instances),
        figures::bytes(counts.arena_bytes),
        figures::count(counts.worker_crashes),
    ]
}

/// Formats the parts of a sum, if there are any.
fn in_brackets(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Formats everything known about one tenant, one line per property.
#[must_use]
pub fn detail(tenant: &TenantView) -> String {
    let TenantView { counts, tally, refusals, pids, sections, .. } = tenant;
    let workers: Vec<_> = pids.workers.iter().map(u32::to_string).collect();
    let kinds: Vec<_> =
        tally.kinds.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{} {n}", kind.name())).collect();
    let refused: Vec<_> =
        refusals.iter().filter(|(_, n)| *n > 0).map(|(quota, n)| format!("{} {n}", quota.name())).collect();
    let dropped: Vec<_> = DropReason::ALL
        .iter()
        .filter(|reason| sections.dropped.of(**reason) > 0)
        .map(|reason| format!("{} {}", reason.name(), sections.dropped.of(*reason)))
        .collect();
    let lines = [
        ("name", tenant.name.to_string()),
        ("user", format!("{}; broker runs as {}", tenant.runs_as(), tenant.user)),
        ("state", format!("{}, written {} ago", tenant.state.name(), figures::duration(tenant.age_seconds))),
        ("up", format!("{}, restarted {} times", figures::duration(tenant.uptime_seconds), counts.restarts)),
        (
            "processes",
            format!(
                "broker {}, front {}, tender {}, zygote {}, workers {}",
                tenant.pid,
                pids.front,
                pids.tender,
                pids.zygote,
                workers.join(" ")
            ),
        ),
        ("notifications", format!("{}{}", tally.notifications, in_brackets(&kinds))),
        (
            "latency",
            format!(
                "p50 below {}, p99 below {} (sampled)",
                figures::time(tenant.latency_p50_ns),
                figures::time(tenant.latency_p99_ns)
            ),
        ),
        (
            "records",
            format!(
                "{}, {} lost, {} suppressed",
                tally.records, tally.records_lost, tally.records_suppressed
            ),
        ),
        ("instances", format!("{} open, {} opened in total", counts.instances, counts.instances_opened)),
        ("areas", format!("{} bytes", counts.arena_bytes)),
        ("files", format!("{} open, {} opened in total", counts.files, counts.files_opened)),
        ("remote handles", counts.handles.to_string()),
        (
            "remote sections",
            format!(
                "{}, {} records appended, {} lost; {} dropped{}",
                sections.started,
                sections.records,
                sections.lost,
                sections.dropped.sum(),
                in_brackets(&dropped)
            ),
        ),
        ("collecting threads", counts.tasks.to_string()),
        ("assists", counts.assists.to_string()),
        (
            "workers",
            format!(
                "{} started, {} crashed, {} delayed; {} calls retried; zygote restarted {} times",
                counts.workers_started,
                counts.worker_crashes,
                counts.starts_delayed,
                counts.retries,
                counts.zygote_restarts
            ),
        ),
        ("refused by quota", format!("{}{}", counts.quota_refusals, in_brackets(&refused))),
        ("artifacts", counts.artifacts.to_string()),
        ("segment", tenant.segment.clone()),
    ];
    lines.into_iter().map(|(what, value)| format!("{what:<21} {value}\n")).collect()
}
