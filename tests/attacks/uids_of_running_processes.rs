//! Attacker: a process that runs under a uid of the range, of a broker without the registry
//! Tries: to share the uid with the workers of the next broker
//! Wins: the right to signal and to trace them
//! Must: the uid is not used as long as the process runs

use anyhow::{Context, Result};
use kcov_tests::service::{Service, tenant};
use std::process::Command;
use std::time::Duration;

#[test]
fn avoided() -> Result<()> {
    // The first of two uids is taken.
    let mut other =
        Command::new("setpriv").args(["--reuid=1947483000", "--clear-groups", "sleep", "1000"]).spawn()?;
    std::thread::sleep(Duration::from_millis(300));
    let config =
        format!("[serve]\nuids = \"1947483000-1947483001\"\n{}", tenant("one", &["sleep", "1000"], ""));
    let service = Service::start(&config);
    let uid = service.and_then(|service| {
        let uid = service.wait_state("one", "running")?.uid;
        service.stop()?;
        uid.context("a uid")
    });
    other.kill()?;
    other.wait()?;
    assert_eq!(uid?, 1_947_483_001);
    Ok(())
}
