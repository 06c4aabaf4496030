//! Attacker: a user who may write to a folder of root, such as /tmp
//! Tries: to replace what root is writing there
//! Wins: files of root, with text of the attacker, in any folder
//! Must: the run is refused, and the message has the mode and the way out

use crate::kit::{crash, refusal};
use anyhow::Result;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

#[test]
fn refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o1777))?;
    let said = refusal(&crash(folder.path())?)?;
    assert!(said.contains("(mode 1777)") && said.contains("chmod go-w"), "{said}");
    Ok(())
}
