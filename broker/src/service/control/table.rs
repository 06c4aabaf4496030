//! Prints tenants as tables and as JSON.

use super::message::{Condition, Shown, Status};
use crate::live::catalogue;
use crate::live::tenant_view::TenantView;
use crate::printable;
use nix::sys::signal::Signal;
use std::io::Write;
use std::time::Duration;

/// Explains [`Condition::Unserved`].
pub const UNSERVED: &str =
    "its broker was killed: traced calls fail with ENOSYS until `kcov-broker tenant restart`";

/// Prints a table or a JSON array.
///
/// # Errors
/// If it cannot be written.
pub fn list(tenants: &[Status], json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", printable::to_json_pretty(&tenants)?)?;
        return Ok(());
    }
    let name = tenants.iter().map(|tenant| tenant.name.len()).max().unwrap_or(0).max("NAME".len());
    writeln!(out, "{:name$}  STATE     FOR      STARTS  FAILED  BROKER   LAST END       COMMAND", "NAME")?;
    for tenant in tenants {
        let Status { name: own, state, since_ms, starts, failures, broker, command, .. } = tenant;
        let (state, broker, last) = (state.name(), or_dash(*broker), end_of(tenant));
        let command = printable::line(&shortened(command)).into_owned();
        let time = time(*since_ms);
        writeln!(
            out,
            "{own:name$}  {state:8}  {time:7}  {starts:6}  {failures:6}  {broker:7}  {last:13}  {command}"
        )?;
        if let Some(reason) = reason(tenant) {
            writeln!(out, "{:name$}  because {}", "", printable::line(&reason))?;
        }
    }
    Ok(())
}

/// A tenant as JSON.
#[derive(serde::Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    status: &'a Status,
    user: Option<&'a str>,
    handlers: &'a str,
    artifacts: Option<&'a str>,
    output: &'a str,
    /// The counters that its broker publishes.
    live: Option<TenantView>,
}

/// Truncates a command to the width of a table.
fn shortened(command: &str) -> String {
    const MAX: usize = 60;
    if command.chars().count() <= MAX {
        return command.to_owned();
    }
    command.chars().take(MAX - 1).chain(['…']).collect()
}

/// Prints all details of a tenant: its status, and the counters that its broker publishes.
///
/// # Errors
/// If it cannot be written.
pub fn status(shown: &Shown, json: bool) -> anyhow::Result<()> {
    let Shown { status: tenant, user, handlers, artifacts, output } = shown;
    let live = live(tenant);
    let mut out = std::io::stdout().lock();
    if json {
        let (user, artifacts) = (user.as_deref(), artifacts.as_deref());
        let document = Document { status: tenant, user, handlers, artifacts, output, live };
        writeln!(out, "{}", printable::to_json_pretty(&document)?)?;
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
    let next = next_start_ms.map_or_else(String::new, |ms| format!(", restarts in {}", time(ms)));
    let ran = last_run_ms.map_or_else(|| "never ran".to_owned(), |ms| format!("ran for {}", time(ms)));
    let last_end = last_end_ms.map(|ms| format!("{}, {} ago, {ran}", end_of(tenant), time(ms)));
    let lines = [
        ("name", name.clone()),
        ("state", format!("{} for {}{next}{unserved}", condition(*state), time(*since_ms))),
        ("from", from.to_owned()),
        ("command", command.clone()),
        ("user", user.clone().unwrap_or_else(|| format!("{}user of the service", user_name(live.as_ref())))),
        ("handlers", if handlers.is_empty() { "-".to_owned() } else { handlers.clone() }),
        ("output", output.clone()),
        ("starts", format!("{starts}, {restarts} restarts in a row; {failures} failed runs")),
        ("last start", start_ms.map_or_else(|| "-".to_owned(), |ms| format!("took {ms} ms"))),
        ("broker", or_dash(*broker)),
        ("workers' uid", or_dash(*uid)),
        ("crashes", or_dash(live.as_ref().map(crashes))),
        ("artifacts", artifacts_of(live.as_ref(), artifacts.as_deref())),
        ("refused", or_dash(live.as_ref().map(refused))),
        ("last end", or_dash(last_end)),
        // Indents further lines.
        ("last reason", or_dash(message.as_deref()).replace('\n', "\n              ")),
    ];
    for (what, value) in lines {
        writeln!(out, "{what:13} {}", printable::lines(&value))?;
    }
    Ok(())
}

/// The name of the command's user, if its broker publishes it.
fn user_name(live: Option<&TenantView>) -> String {
    live.and_then(|live| live.command_user.as_ref()).map_or_else(String::new, |user| format!("{user}, "))
}

/// The counters that its broker publishes, if this user may read them.
fn live(tenant: &Status) -> Option<TenantView> {
    let shows = |live: &TenantView| {
        live.is_here && Some(live.pid) == tenant.broker && live.name.as_str() == tenant.name
    };
    catalogue::scan().ok()?.tenants.into_iter().find(shows)
}

fn crashes(live: &TenantView) -> String {
    format!("{} of {} workers of this run", live.counts.worker_crashes, live.counts.workers_started)
}

fn artifacts_of(live: Option<&TenantView>, directory: Option<&str>) -> String {
    match (directory, live) {
        (None, _) => "none: `artifacts` is not set".to_owned(),
        (Some(directory), None) => format!("in {directory}"),
        (Some(directory), Some(live)) => format!("{} of this run, in {directory}", live.counts.artifacts),
    }
}

/// Requests that were refused because of quotas.
fn refused(live: &TenantView) -> String {
    let refusals = live.refusals.iter().filter(|(_, times)| *times > 0);
    let parts: Vec<_> = refusals.map(|(quota, times)| format!("{} {}", quota.name(), times)).collect();
    if parts.is_empty() {
        "nothing because of a quota".to_owned()
    } else {
        format!("because of quotas: {}", parts.join(", "))
    }
}

/// The condition in words.
fn condition(state: Condition) -> &'static str {
    if state == Condition::Unserved { "running without a broker" } else { state.name() }
}

/// Why the tenant does not run, or is not served, in one line.
fn reason(tenant: &Status) -> Option<String> {
    if tenant.state == Condition::Unserved {
        return Some(UNSERVED.to_owned());
    }
    let ended = matches!(tenant.state, Condition::Waiting | Condition::Failed);
    let mut lines = tenant.message.as_deref().filter(|_| ended)?.lines();
    let (first, more) = (lines.next()?.to_owned(), lines.count());
    Some(if more == 0 { first } else { format!("{first} (and {more} more: see tenant status)") })
}

/// How the last run ended: the status, and the signal that it represents.
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

/// Formats a time with its two largest units.
fn time(milliseconds: u64) -> String {
    let seconds = Duration::from_millis(milliseconds).as_secs();
    match seconds {
        0..60 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
