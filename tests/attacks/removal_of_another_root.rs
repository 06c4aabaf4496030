//! Attacker: the owner of a root directory whose packages are removed (dpkg --root)
//! Tries: to have the scripts of the package act on the machine instead
//! Wins: the end of the services of the machine
//! Must: the scripts touch nothing but that directory

use anyhow::Result;
use kcov_tests::binaries::workspace;
use kcov_tests::service::{Service, tenant};
use std::process::Command;

#[test]
fn stays_there() -> Result<()> {
    let service = Service::start(&tenant("one", &["sleep", "1000"], ""))?;
    service.wait_state("one", "running")?;
    let root = tempfile::tempdir()?;
    for (script, word) in [("prerm", "remove"), ("postrm", "remove"), ("postrm", "purge")] {
        let script = workspace().join("deploy/debian").join(script);
        let status = Command::new("sh").arg(script).arg(word).env("DPKG_ROOT", root.path()).status()?;
        assert!(status.success());
    }
    assert_eq!(service.tenant("one")?.state, "running");
    service.stop()?;
    Ok(())
}
