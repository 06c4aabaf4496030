//! Attacks on kcov-broker, one in each file of `tests/attacks`, whose header states what the attacker tries, what
//! would be won, and what must happen. The table in SECURITY.md is made of the headers.
//!
//! Handlers in C run in a worker, of root and of an ordinary user. The other attacks are the modules below.

#[path = "../attacks/artifacts_behind_a_link.rs"]
mod artifacts_behind_a_link;
#[path = "../attacks/artifacts_in_a_shared_folder.rs"]
mod artifacts_in_a_shared_folder;
#[path = "../attacks/artifacts_of_a_stranger.rs"]
mod artifacts_of_a_stranger;
#[path = "../attacks/artifacts_under_a_lock.rs"]
mod artifacts_under_a_lock;
#[path = "../attacks/artifacts_with_a_planted_pipe.rs"]
mod artifacts_with_a_planted_pipe;
#[path = "../attacks/artifacts_with_planted_links.rs"]
mod artifacts_with_planted_links;
#[path = "../attacks/control_socket_crowd.rs"]
mod control_socket_crowd;
#[path = "../attacks/control_socket_garbage.rs"]
mod control_socket_garbage;
#[path = "../attacks/control_socket_in_a_shared_folder.rs"]
mod control_socket_in_a_shared_folder;
#[path = "../attacks/control_socket_in_a_strangers_folder.rs"]
mod control_socket_in_a_strangers_folder;
#[path = "../attacks/control_socket_of_a_service.rs"]
mod control_socket_of_a_service;
#[path = "attacks/kit.rs"]
mod kit;
#[path = "../attacks/metrics_socket_over_a_link.rs"]
mod metrics_socket_over_a_link;
#[path = "../attacks/metrics_through_a_link.rs"]
mod metrics_through_a_link;
#[path = "../attacks/name_with_control_characters.rs"]
mod name_with_control_characters;
#[path = "../attacks/output_with_a_second_name.rs"]
mod output_with_a_second_name;
#[path = "../attacks/purge_through_a_link.rs"]
mod purge_through_a_link;
#[path = "../attacks/reader_that_creates_files.rs"]
mod reader_that_creates_files;
#[path = "../attacks/reader_with_capabilities.rs"]
mod reader_with_capabilities;
#[path = "../attacks/removal_of_another_root.rs"]
mod removal_of_another_root;
#[path = "../attacks/report_into_a_pipe.rs"]
mod report_into_a_pipe;
#[path = "../attacks/report_through_a_link.rs"]
mod report_through_a_link;
#[path = "../attacks/report_with_a_second_name.rs"]
mod report_with_a_second_name;
#[path = "../attacks/tenant_kills_its_servers.rs"]
mod tenant_kills_its_servers;
#[path = "../attacks/tenant_reads_its_servers.rs"]
mod tenant_reads_its_servers;
#[path = "../attacks/tenant_takes_a_name.rs"]
mod tenant_takes_a_name;
#[path = "../attacks/uid_registry_under_a_lock.rs"]
mod uid_registry_under_a_lock;
#[path = "../attacks/uids_in_pid_namespaces.rs"]
mod uids_in_pid_namespaces;
#[path = "../attacks/uids_of_running_processes.rs"]
mod uids_of_running_processes;

use anyhow::{Context, Result, ensure};
use kcov_tests::attack::Attack;
use kcov_tests::binaries::workspace;
use kcov_tests::{Run, Session, client, library, ordinary};
use std::fs;

/// Deadline of an attack that hangs.
const DEADLINE: &str = "20s";
/// Writes the table instead of comparing it.
const WRITE: &str = "KCOV_WRITE_TABLE";

/// Runs a handler as root or as an ordinary user. Returns the difference from what must happen, if there is one.
fn difference(attack: &Attack, rootless: bool) -> Result<Option<String>> {
    let library = library(&attack.name)?.to_str().context("a path in UTF-8")?.to_owned();
    let more = attack.paragraph("Options").split_whitespace();
    let options = ["--log-format", "json", "--deadline", DEADLINE, "--handler", &library];
    let options: Vec<&str> = options.into_iter().chain(more).collect();
    let command = [client("attacked")?];
    let session = if rootless { ordinary::session()? } else { Session::new()? };
    let run = match rootless {
        true => ordinary::run(&session, &options, &command)?,
        false => options.iter().fold(Run::new(&command), |run, option| run.option(option)),
    };
    let outcome = run.start_in(session)?.finish()?;
    ensure!(outcome.code() == 0, "{}", outcome.stderr);
    let events = outcome.events();
    let crash = events.iter().find(|event| event.name() == "worker_crash");
    let forbidden = crash.and_then(|crash| crash.field("forbidden"));
    let must = attack.paragraph("Outcome");
    let seen = match forbidden {
        Some(call) => format!("killed {call}"),
        // Rootless, the broker may not be told how a worker ended.
        None if rootless && crash.is_some() && must.starts_with("killed") => must.to_owned(),
        None => outcome.stdout.trim().to_owned(),
    };
    let must = match must.strip_prefix('-') {
        Some(errno) => format!("-{}", number(errno)?),
        None => must.to_owned(),
    };
    Ok((seen != must).then(|| format!("{}: {seen}, not {must}\n{}", attack.name, outcome.stderr)))
}

fn number(errno: &str) -> Result<i32> {
    match errno {
        "ENOMEM" => Ok(libc::ENOMEM),
        "EMFILE" => Ok(libc::EMFILE),
        other => anyhow::bail!("no number for {other}"),
    }
}

fn assert_handlers(rootless: bool) -> Result<()> {
    let mut wrong = Vec::new();
    for attack in Attack::all()?.iter().filter(|attack| attack.is_handler) {
        wrong.extend(difference(attack, rootless).with_context(|| attack.name.clone())?);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn no_handler_succeeds() -> Result<()> {
    assert_handlers(false)
}

#[test]
fn no_handler_of_an_ordinary_user_succeeds() -> Result<()> {
    assert_handlers(true)
}

/// `KCOV_WRITE_TABLE=1 cargo test -p kcov-tests --test attacks table` writes it.
#[test]
fn the_table_in_security_md_is_that_of_the_headers() -> Result<()> {
    let path = workspace().join("SECURITY.md");
    let text = fs::read_to_string(&path)?;
    let (before, rest) = text.split_once("<!-- attacks -->\n").context("no start of the table")?;
    let (_, after) = rest.split_once("<!-- end of attacks -->").context("no end of the table")?;
    let table = Attack::table()?;
    let new = format!("{before}<!-- attacks -->\n{table}<!-- end of attacks -->{after}");
    if std::env::var_os(WRITE).is_some() {
        return Ok(fs::write(&path, new)?);
    }
    assert!(text == new, "SECURITY.md lacks an attack: run this test with {WRITE}=1");
    Ok(())
}

/// A file that no module names would never run.
#[test]
fn every_attack_runs() -> Result<()> {
    let own = include_str!("attacks.rs");
    for attack in Attack::all()?.iter().filter(|attack| !attack.is_handler) {
        assert!(own.contains(&format!("mod {};", attack.name)), "{}", attack.name);
    }
    assert!(Attack::all()?.len() >= 40);
    Ok(())
}
