//! Tenants for people and for programs.

use super::message::Status;
use std::io::Write;
use std::time::Duration;

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
    writeln!(out, "{:name$}  STATE     FOR      STARTS  BROKER   LAST  COMMAND", "NAME")?;
    for tenant in tenants {
        let Status { name: own, state, since_ms, starts, broker, last_status, command, .. } = tenant;
        let (state, broker, last) = (state.name(), or_dash(*broker), or_dash(*last_status));
        let command: String = command.chars().take(60).collect();
        let time = time(*since_ms);
        writeln!(out, "{own:name$}  {state:8}  {time:7}  {starts:6}  {broker:7}  {last:4}  {command}")?;
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
        broker,
        uid,
        last_status,
        message,
        command,
        configured,
    } = tenant;
    let from = if *configured { "the configuration" } else { "tenant add" };
    let lines = [
        ("name", name.clone()),
        ("state", format!("{} for {}", state.name(), time(*since_ms))),
        ("from", from.to_owned()),
        ("command", command.clone()),
        ("starts", format!("{starts}, {restarts} of them in a row")),
        ("last start", start_ms.map_or_else(|| "-".to_owned(), |ms| format!("took {ms} ms"))),
        ("broker", or_dash(*broker)),
        ("workers' uid", or_dash(*uid)),
        ("last status", or_dash(*last_status)),
        ("last message", message.clone().unwrap_or_else(|| "-".to_owned())),
    ];
    for (what, value) in lines {
        writeln!(out, "{what:13} {value}")?;
    }
    Ok(())
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
