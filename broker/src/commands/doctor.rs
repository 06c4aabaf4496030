//! `kcov-broker doctor`: checks whether this user can run commands on this machine, what is missing, why it
//! matters and how to fix it.
//!
//! It tries every feature instead of guessing from versions, and finally runs a command under the broker.

mod finding;
mod kernel;
mod machine;
mod rights;

use crate::front;
use crate::printable;
use anyhow::Context;
use finding::{Finding, Level};
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Longest time that the command of the last check may take. It does nothing, but the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Interval between checks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);
/// Maximum number of characters of its message that are shown.
const MAX_MESSAGE: usize = 400;

/// Options of `kcov-broker doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if `kcov-broker run` can work here for this user, 1 if not.")]
pub struct DoctorArgs {
    /// Print one JSON object instead of a line for each check
    #[arg(long)]
    json: bool,
}

#[derive(Debug, serde::Serialize)]
struct Diagnosis {
    can_run: bool,
    findings: Vec<Finding>,
}

/// Runs all checks and prints the findings. The exit code is 1 if commands cannot be run.
///
/// # Errors
/// If the result cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut findings = [kernel::findings(), machine::findings(), rights::findings()].concat();
    // Otherwise the run would fail too, and only repeat the reason less clearly.
    if findings.iter().all(|finding| finding.level != Level::Missing) {
        findings.push(command());
    }
    let can_run = findings.iter().all(|finding| finding.level != Level::Missing);
    let diagnosis = Diagnosis { can_run, findings };
    write(&diagnosis, args.json).context("cannot write the result")?;
    Ok(if can_run { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write(diagnosis: &Diagnosis, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        return writeln!(out, "{}", printable::to_json_pretty(diagnosis)?);
    }
    for finding in &diagnosis.findings {
        writeln!(out, "{}", printable::line(&finding.to_string()))?;
    }
    let verdict = if diagnosis.can_run { "can" } else { "cannot" };
    writeln!(out, "kcov-broker {verdict} run commands here for this user")
}

/// Runs a command that does nothing, with all calls traced.
fn command() -> Finding {
    let finding = Finding::ok("a command", "running commands", "ran with all calls traced");
    match try_command() {
        Ok(None) => finding,
        Ok(Some(message)) => finding.but(Level::Missing, message, "run it with -vv and report the output"),
        Err(error) => finding.but(Level::Missing, format!("{error:#}"), "see the message"),
    }
}

/// Returns how the command failed; `None` if it did not.
fn try_command() -> anyhow::Result<Option<String>> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let mut child = Command::new(&program)
        .args(["run", "--trace", "all", "--"])
        .arg(&program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start it")?;
    let end = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() >= end {
            // The broker ends the command when its front is killed.
            child.kill()?;
            child.wait()?;
            return Ok(Some(format!("did not end within {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(LOOK);
    }
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let message: String = stderr.trim().chars().take(MAX_MESSAGE).collect();
    Ok(match output.status.code() {
        Some(0) => None,
        Some(status) if status == i32::from(front::BROKER_FAILED) => Some(message),
        _ => Some(format!("{}: {message}", output.status)),
    })
}
