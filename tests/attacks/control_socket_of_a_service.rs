//! Attacker: a user of the machine
//! Tries: to send orders to the service of root
//! Wins: commands as root
//! Must: the socket cannot be reached

use crate::kit::as_stranger;
use anyhow::Result;
use kcov_tests::service::{Service, tenant};

#[test]
fn refused() -> Result<()> {
    let service = Service::start(&tenant("one", &["sleep", "1000"], ""))?;
    service.wait_state("one", "running")?;
    let mut command = as_stranger(service.session.path("kcov-broker"));
    let output = command
        .args(["tenant", "stop", "one", "--socket"])
        .arg(service.session.path("ctl/socket"))
        .output()?;
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(service.tenant("one")?.state, "running");
    service.stop()?;
    Ok(())
}
