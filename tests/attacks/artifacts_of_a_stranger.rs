//! Attacker: the user who owns a folder that root writes to
//! Tries: to have root write artifacts there, and to put links in their place while it does
//! Wins: files of root, with text of the attacker, in any folder
//! Must: the run is refused before the command starts, the message names the folder, and nothing is written

use crate::kit::{crash, folder_of_stranger, refusal};
use anyhow::Result;

#[test]
fn refused() -> Result<()> {
    let folder = folder_of_stranger(0o755)?;
    let said = refusal(&crash(folder.path())?)?;
    assert!(said.contains(&format!("{} belongs to uid", folder.path().display())), "{said}");
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}
