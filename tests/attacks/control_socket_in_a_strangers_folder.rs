//! Attacker: the user who controls the folder of the control socket
//! Tries: to have a service of root listen in a folder of another user
//! Wins: a socket of its own in place of the service, which operators trust
//! Must: the service refuses to start, and the message names the folder

use anyhow::Result;

#[test]
fn refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    crate::kit::give(folder.path())?;
    let said = crate::kit::refused_socket(folder.path())?;
    assert!(said.contains("other users can access"), "{said}");
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
    Ok(())
}
