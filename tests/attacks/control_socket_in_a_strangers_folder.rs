//! Attacker: the user who controls the folder of the control socket
//! Tries: to have a service of root listen in a folder of another user
//! Wins: a socket of its own in place of the service, which operators trust
//! Must: the service refuses to start, and the message names the folder

use anyhow::Result;
use kcov_tests::Session;

#[test]
fn refused() -> Result<()> {
    let (session, folder) = (Session::new()?, tempfile::tempdir()?);
    crate::kit::give(folder.path())?;
    let config = session.path("serve.toml");
    let socket = folder.path().join("control");
    std::fs::write(&config, format!("[serve]\nsocket = {:?}\n", socket.display()))?;
    let output = session
        .command("timeout")
        .arg("20")
        .arg(session.path("kcov-broker"))
        .args(["serve", "--config"])
        .arg(&config)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("other users can access"), "{said}");
    assert!(said.contains(&folder.path().display().to_string()), "{said}");
    Ok(())
}
