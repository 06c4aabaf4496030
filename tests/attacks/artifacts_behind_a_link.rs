//! Attacker: the user who owns a folder that root writes to
//! Tries: to name a folder of its own for artifacts that is a link to a folder of root
//! Wins: artifacts, with text of the attacker, in a folder where programs of root read them
//! Must: the run is refused, the message names the link, and nothing is written

use crate::kit::{crash, folder_of_stranger, give, refusal};
use anyhow::Result;
use std::os::unix::fs::symlink;

#[test]
fn refused() -> Result<()> {
    let (folder, target) = (folder_of_stranger(0o755)?, tempfile::tempdir()?);
    let link = folder.path().join("crashes");
    symlink(target.path(), &link)?;
    give(&link)?;
    let said = refusal(&crash(&link)?)?;
    assert!(said.contains(&format!("{} is a symbolic link of uid", link.display())), "{said}");
    assert_eq!(std::fs::read_dir(target.path())?.count(), 0);
    Ok(())
}
