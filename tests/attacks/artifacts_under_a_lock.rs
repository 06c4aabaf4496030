//! Attacker: a user who may read the folder of the artifacts
//! Tries: to hold a lock on it for ever
//! Wins: runs that never end, and no artifacts
//! Must: the run ends soon, and the log names the folder and the way out

use crate::kit::{as_stranger, crash};
use anyhow::{Context, Result};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[test]
fn the_wait_is_bounded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
    let mut holder = as_stranger("flock").arg(folder.path()).args(["sleep", "100"]).spawn()?;
    std::thread::sleep(Duration::from_millis(300));
    let outcome = crash(folder.path())?.logged().within(Duration::from_secs(60)).output();
    holder.kill()?;
    holder.wait()?;
    let outcome = outcome?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    let events = outcome.events();
    let failed = events.iter().find(|event| event.name() == "artifact_failed").context("no event")?;
    let reason = failed.field("reason").unwrap_or_default();
    assert!(reason.contains("holds a lock on"), "{reason}");
    Ok(())
}
