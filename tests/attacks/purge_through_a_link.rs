//! Attacker: a tenant that could write to a folder of the package
//! Tries: to leave links in it before the package is purged
//! Wins: the removal of what the links lead to
//! Must: the links are removed, and what they lead to is as before

use anyhow::Result;
use kcov_tests::binaries::workspace;
use std::process::Command;

#[test]
fn not_followed() -> Result<()> {
    let (root, target) = (tempfile::tempdir()?, tempfile::tempdir()?);
    std::fs::write(target.path().join("precious"), "text")?;
    for folder in ["var/lib/kcov-broker", "var/log/kcov-broker"] {
        std::fs::create_dir_all(root.path().join(folder))?;
        std::os::unix::fs::symlink(target.path(), root.path().join(folder).join("link"))?;
    }
    let script = workspace().join("deploy/debian/postrm");
    let status = Command::new("sh").arg(script).arg("purge").env("DPKG_ROOT", root.path()).status()?;
    assert!(status.success() && !root.path().join("var/lib/kcov-broker").exists());
    assert_eq!(std::fs::read_to_string(target.path().join("precious"))?, "text");
    Ok(())
}
