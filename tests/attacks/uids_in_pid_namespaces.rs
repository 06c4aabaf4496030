//! Attacker: a handler in its worker, of a broker in a container
//! Tries: to have the same uid as a worker of another broker, which has the same process id in another PID
//!   namespace
//! Wins: the right to signal and to trace the other worker
//! Must: all workers of the machine have different uids, and every run succeeds

use anyhow::{Context, Result, ensure};
use kcov_tests::process::Process;
use kcov_tests::{Session, until};
use std::collections::BTreeSet;
use std::process::Child;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);
/// Brokers at the same time. Most of them have the same process id.
const BROKERS: usize = 42;

/// Starts a run that sleeps, in a PID namespace of its own, behind `before`.
fn start(session: &Session, before: &[&str]) -> Result<Child> {
    let words = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut command = session.command("unshare");
    command.args(words).args(before).arg(session.path("kcov-broker"));
    command.args(["run", "--trace", "getppid", "--", "sleep", "60"]);
    command.stdout(std::fs::File::create(session.path("stdout"))?);
    command.stderr(std::fs::File::create(session.path("stderr"))?);
    Ok(command.spawn()?)
}

/// The uids of the workers of a session, without repetitions. A zygote has the same name until it is jailed.
fn uids(session: &Session) -> BTreeSet<u32> {
    let uid = |process: Process| process.status()?.get("Uid")?.split_whitespace().next()?.parse().ok();
    session.named("kcov-worker").into_iter().filter_map(uid).filter(|uid| *uid != 0).collect()
}

/// Runs brokers in PID namespaces of their own. Returns how many different uids their workers have.
fn different_uids(count: usize, before: &[&str]) -> Result<usize> {
    let sessions = (0..count).map(|_| Session::new()).collect::<Result<Vec<_>>>()?;
    let mut running = Vec::new();
    for session in &sessions {
        running.push(start(session, before)?);
    }
    let mut all = BTreeSet::new();
    for session in &sessions {
        let own = until("a worker", WITHIN, || Some(uids(session)).filter(|uids| !uids.is_empty()));
        let own = own.with_context(|| std::fs::read_to_string(session.path("stderr")).unwrap_or_default())?;
        ensure!(own.len() == 1, "the uids of one tenant: {own:?}");
        all.extend(own);
    }
    for session in &sessions {
        session.kill();
    }
    running.iter_mut().try_for_each(|child| child.wait().map(drop))?;
    Ok(all.len())
}

#[test]
fn brokers_with_the_same_process_id_have_different_uids() -> Result<()> {
    assert_eq!(different_uids(BROKERS, &[])?, BROKERS);
    Ok(())
}

/// Each has its own `/run`, which it cannot write to: the kernel's count of processes decides.
#[test]
fn brokers_without_a_registry_have_different_uids() -> Result<()> {
    let script = "mount -t tmpfs -o ro none /run && exec \"$0\" \"$@\"";
    let before = ["--mount", "sh", "-c", script];
    assert_eq!(different_uids(8, &before)?, 8);
    Ok(())
}
