//! Attacker: a user of the machine
//! Tries: to hold locks in the registry of worker uids
//! Wins: no uid left for any broker
//! Must: only root can open the registry

use crate::kit::as_stranger;
use anyhow::Result;
use kcov_tests::Run;

#[test]
fn refused() -> Result<()> {
    Run::new(["true"]).output()?.assert_sound()?;
    let output = as_stranger("cat").arg("/run/kcov-broker.uids").output()?;
    assert!(!output.status.success() && output.stdout.is_empty());
    Ok(())
}
