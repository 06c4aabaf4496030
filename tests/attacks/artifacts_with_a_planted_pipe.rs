//! Attacker: the user who owns a folder that root writes to later
//! Tries: to leave a pipe that nobody writes to where a writer reads how often a crash was seen
//! Wins: a run that never ends
//! Must: the crash is counted, and the run ends

use crate::kit::crash;
use anyhow::{Context, Result};
use nix::sys::stat::Mode;

#[test]
fn not_waited_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    crash(folder.path())?.output()?;
    let artifact = std::fs::read_dir(folder.path())?.next().context("an artifact")??.path();
    let sightings = artifact.join("sightings.json");
    std::fs::remove_file(&sightings)?;
    nix::unistd::mkfifo(&sightings, Mode::from_bits_truncate(0o666))?;
    let outcome = crash(folder.path())?.output()?;
    assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
    assert!(sightings.is_file(), "the pipe was replaced");
    Ok(())
}
