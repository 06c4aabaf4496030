//! Attacker: the user who owns a folder that root writes to later
//! Tries: to leave links with the names that a writer uses, before root takes over the folder
//! Wins: the removal, or the change, of what the links lead to
//! Must: the artifact is written, and what the links lead to is as before

use crate::kit::crash;
use anyhow::Result;
use std::os::unix::fs::symlink;

#[test]
fn not_followed() -> Result<()> {
    let (folder, target) = (tempfile::tempdir()?, tempfile::tempdir()?);
    std::fs::write(target.path().join("precious"), "text")?;
    symlink(target.path(), folder.path().join(".unfinished"))?;
    let outcome = crash(folder.path())?.output()?;
    assert_eq!(outcome.report()?.artifacts, 1, "{}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(target.path().join("precious"))?, "text");
    assert_eq!(std::fs::read_dir(target.path())?.count(), 1);
    assert!(!folder.path().join(".unfinished").is_symlink());
    Ok(())
}
