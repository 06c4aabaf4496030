//! `kcov-broker doctor` reports correctly on this machine, and on one where something is missing.

use anyhow::{Context, Result};
use kcov_tests::{Outcome, Run, Session};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;

/// A uid that no system assigns.
const USER: u32 = 61_234;

/// Runs `kcov-broker doctor` with `options`, with the words of `before` in front.
fn doctor(before: &[&str], options: &[&str]) -> Result<Outcome> {
    doctor_in(Session::new()?, before, options)
}

fn doctor_in(session: Session, before: &[&str], options: &[&str]) -> Result<Outcome> {
    let program = [session.path("kcov-broker").into_os_string(), "doctor".into()];
    let line = before.iter().map(OsString::from).chain(program).chain(options.iter().map(OsString::from));
    Run::new(line).bare().start_in(session)?.finish()
}

fn as_user(before: &[&'static str]) -> Vec<String> {
    let ids = [format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()];
    let words = before.iter().map(|&word| word.to_owned());
    ["setpriv".to_owned()].into_iter().chain(ids).chain(words).collect()
}

fn level(outcome: &Outcome, check: &str) -> Result<String> {
    let diagnosis: Value = serde_json::from_str(&outcome.stdout).context(outcome.stderr.clone())?;
    let findings = diagnosis["findings"].as_array().context("findings")?;
    let finding = findings.iter().find(|finding| finding["check"] == check);
    Ok(finding.with_context(|| check.to_owned())?["level"].as_str().unwrap_or_default().to_owned())
}

/// Root can run commands here, as the other tests do. Each check is one line.
#[test]
fn root_can_run() -> Result<()> {
    let outcome = doctor(&[], &[])?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stdout);
    let (verdict, lines) = outcome.stdout.trim().rsplit_once('\n').context("lines")?;
    let is_finding = |line: &str| ["ok ", "limited ", "missing "].iter().any(|level| line.starts_with(level));
    assert!(verdict.lines().all(is_finding) && !lines.is_empty(), "{}", outcome.stdout);
    assert!(lines.contains("can run commands here"), "{lines}");
    assert_eq!(outcome.stderr, "");
    Ok(())
}

/// An ordinary user can run commands, with limits that are named.
#[test]
fn an_ordinary_user_can_run_with_limits() -> Result<()> {
    let before = as_user(&[]);
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    let outcome = doctor(&before, &["--json"])?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stdout);
    assert_eq!(level(&outcome, "rights")?, "limited");
    for check in ["user namespaces", "device files", "a command"] {
        assert_eq!(level(&outcome, check)?, "ok", "{check}\n{}", outcome.stdout);
    }
    Ok(())
}

/// Where namespaces are forbidden, an ordinary user cannot run commands, and doctor says how to change that.
#[test]
fn forbidden_namespaces_are_found() -> Result<()> {
    const SCRIPT: &str = r#"echo 0 > /proc/sys/user/max_user_namespaces; exec "$@""#;
    let before = as_user(&["unshare", "-r", "sh", "-c", SCRIPT, "sh"]);
    let before: Vec<_> = before.iter().map(String::as_str).collect();
    let outcome = doctor(&before, &["--json"])?;
    assert_eq!(outcome.code(), 1, "{}", outcome.stdout);
    assert_eq!(level(&outcome, "user namespaces")?, "missing");
    assert!(outcome.stdout.contains("sysctl -w user.max_user_namespaces"), "{}", outcome.stdout);
    Ok(())
}

/// Under a broker the process has a listener already.
#[test]
fn a_listener_that_is_already_installed_is_found() -> Result<()> {
    let session = Session::new()?;
    let broker = session.path("kcov-broker");
    let outcome = doctor_in(session, &[&*broker.to_string_lossy(), "run", "--"], &["--json"])?;
    assert_eq!(outcome.code(), 1, "{}", outcome.stdout);
    assert_eq!(level(&outcome, "seccomp listener")?, "missing");
    assert_eq!(level(&outcome, "SYNC_WAKE_UP")?, "limited");
    Ok(())
}

/// A missing worker program is reported.
#[test]
fn a_missing_worker_is_found() -> Result<()> {
    let session = Session::new()?;
    fs::remove_file(session.path("kcov-worker"))?;
    let outcome = doctor_in(session, &[], &["--json"])?;
    assert_eq!(outcome.code(), 1, "{}", outcome.stdout);
    assert_eq!(level(&outcome, "worker program")?, "missing");
    Ok(())
}

/// A low descriptor limit that cannot be raised is a limit, not an error.
#[test]
fn few_descriptors_are_a_limit() -> Result<()> {
    let few = ["prlimit", "--nofile=256:256", "--", "setpriv", "--bounding-set=-sys_resource"];
    let outcome = doctor(&few, &["--json"])?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stdout);
    assert_eq!(level(&outcome, "descriptors")?, "limited");
    Ok(())
}
