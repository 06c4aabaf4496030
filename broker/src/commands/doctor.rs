//! `kcov-broker doctor`: whether a run can work here, for this user; what is missing, why it matters and what to do.
//!
//! Everything is tried, not guessed from versions, and in the end a command is run under the broker: the verdict is
//! that of the run.

mod finding;
mod kernel;
mod machine;
mod rights;

use crate::front;
use anyhow::Context;
use finding::{Finding, Level};
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Longest that the command of the trial may take: it does nothing, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(5);
/// Most bytes of its message that are shown.
const MESSAGE: usize = 400;

/// Options of `kcov-broker doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if `kcov-broker run` can work here for this user, 1 if not.")]
pub struct DoctorArgs {
    /// Write one JSON object instead of a line for each check
    #[arg(long)]
    json: bool,
}

#[derive(Debug, serde::Serialize)]
struct Diagnosis {
    can_run: bool,
    findings: Vec<Finding>,
}

/// Examines machine and user. Returns whether a run can work.
///
/// # Errors
/// If the result cannot be written.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut findings = [kernel::findings(), machine::findings(), rights::findings()].concat();
    // A run cannot end well then, and its message would hide the reason.
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
        return writeln!(out, "{}", serde_json::to_string_pretty(diagnosis)?);
    }
    for finding in &diagnosis.findings {
        writeln!(out, "{finding}")?;
    }
    let verdict = if diagnosis.can_run { "can" } else { "cannot" };
    writeln!(out, "kcov-broker {verdict} run commands here for this user")
}

/// Runs a command that does nothing, with every call traced.
fn command() -> Finding {
    let finding = Finding::ok("a command", "all of it", "ran, with every call traced");
    match try_command() {
        Ok(None) => finding,
        Ok(Some(message)) => finding.but(Level::Missing, message, "run it with -vv, and report what you see"),
        Err(error) => finding.but(Level::Missing, format!("{error:#}"), "see the message"),
    }
}

/// `None` if it ended well; else how it did.
fn try_command() -> anyhow::Result<Option<String>> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
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
            // The broker ends the command when its front is gone.
            child.kill()?;
            child.wait()?;
            return Ok(Some(format!("did not end within {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(LOOK);
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(MESSAGE).collect();
    Ok(match output.status.code() {
        Some(0) => None,
        Some(status) if status == i32::from(front::BROKER_FAILED) => Some(said),
        _ => Some(format!("{}: {said}", output.status)),
    })
}
