//! Tenants for people and for programs.

use super::message::{Condition, Status};
use nix::sys::signal::Signal;
use std::io::Write;
use std::time::Duration;

/// What it means to be [`Condition::Unserved`].
pub const UNSERVED: &str =
    "its broker was killed: traced calls get ENOSYS until `kcov-broker tenant restart` of it";

/// Writes a table, or an array of JSON.
///
/// # Errors
/// If it cannot be written.
pub fn list(tenants: &[Status], json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(tenants)?)?;
        return Ok(());
    }
    let name = tenants.iter().map(|tenant| tenant.name.len()).max().unwrap_or(0).max("NAME".len());
    writeln!(out, "{:name$}  STATE     FOR      STARTS  FAILED  BROKER   LAST END       COMMAND", "NAME")?;
    for tenant in tenants {
        let Status { name: own, state, since_ms, starts, failures, broker, command, .. } = tenant;
        let (state, broker, last) = (state.name(), or_dash(*broker), end_of(tenant));
        let command: String = command.chars().take(60).collect();
        let time = time(*since_ms);
        writeln!(
            out,
            "{own:name$}  {state:8}  {time:7}  {starts:6}  {failures:6}  {broker:7}  {last:13}  {command}"
        )?;
        if let Some(reason) = reason(tenant) {
            writeln!(out, "{:name$}  because {reason}", "")?;
        }
    }
    Ok(())
}

/// Writes what is known of one tenant.
///
/// # Errors
/// If it cannot be written.
pub fn status(tenant: &Status, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(tenant)?)?;
        return Ok(());
    }
    let Status {
        name,
        state,
        since_ms,
        start_ms,
        starts,
        restarts,
        failures,
        next_start_ms,
        broker,
        uid,
        last_status: _,
        message,
        last_end_ms,
        last_run_ms,
        command,
        configured,
    } = tenant;
    let from = if *configured { "the configuration" } else { "tenant add" };
    let unserved = if *state == Condition::Unserved { format!(": {UNSERVED}") } else { String::new() };
    let next = next_start_ms.map_or_else(String::new, |ms| format!(", starts again in {}", time(ms)));
    let ran = last_run_ms.map_or_else(|| "never ran".to_owned(), |ms| format!("ran for {}", time(ms)));
    let last_end = last_end_ms.map(|ms| format!("{}, {} ago, {ran}", end_of(tenant), time(ms)));
    let lines = [
        ("name", name.clone()),
        ("state", format!("{} for {}{next}{unserved}", standing(*state), time(*since_ms))),
        ("from", from.to_owned()),
        ("command", command.clone()),
        ("starts", format!("{starts}, {restarts} of them in a row; {failures} runs failed")),
        ("last start", start_ms.map_or_else(|| "-".to_owned(), |ms| format!("took {ms} ms"))),
        ("broker", or_dash(*broker)),
        ("workers' uid", or_dash(*uid)),
        ("last end", or_dash(last_end)),
        // Each further line below the first one.
        ("last reason", or_dash(message.as_deref()).replace('\n', "\n              ")),
    ];
    for (what, value) in lines {
        writeln!(out, "{what:13} {value}")?;
    }
    Ok(())
}

/// What it is at, in full.
fn standing(state: Condition) -> &'static str {
    if state == Condition::Unserved { "running without a broker" } else { state.name() }
}

/// Why it is not running, or not as it should, in one line.
fn reason(tenant: &Status) -> Option<String> {
    if tenant.state == Condition::Unserved {
        return Some(UNSERVED.to_owned());
    }
    let ended = matches!(tenant.state, Condition::Waiting | Condition::Failed);
    let mut lines = tenant.message.as_deref().filter(|_| ended)?.lines();
    let (first, more) = (lines.next()?.to_owned(), lines.count());
    Some(if more == 0 { first } else { format!("{first} (and {more} more: see tenant status)") })
}

/// How the last run ended: the status, and the signal that it stands for.
#[must_use]
pub fn end_of(tenant: &Status) -> String {
    let Some(status) = tenant.last_status else {
        return if tenant.last_end_ms.is_some() { "killed".to_owned() } else { "-".to_owned() };
    };
    let signal = status.checked_sub(128).and_then(|number| Signal::try_from(i32::from(number)).ok());
    signal.map_or_else(|| format!("status {status}"), |signal| format!("{status} {signal}"))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// The two units that matter.
fn time(milliseconds: u64) -> String {
    let seconds = Duration::from_millis(milliseconds).as_secs();
    match seconds {
        0..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
