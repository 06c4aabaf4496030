//! Attacker: the user who owns the folder of the metrics socket
//! Tries: to put a link in place of the socket before its mode is set
//! Wins: a file of root that every user may write
//! Must: no mode is set by path: the socket has it from the start, and the file keeps its own

use anyhow::Result;
use kcov_tests::{Session, until};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

#[test]
fn the_file_keeps_its_mode() -> Result<()> {
    let session = Session::new()?;
    let (precious, socket) = (session.path("precious"), session.path("socket"));
    std::fs::write(&precious, "text")?;
    std::fs::set_permissions(&precious, std::fs::Permissions::from_mode(0o600))?;
    let mut server = session.command("strace");
    server.args(["-f", "-qq", "-e", "trace=chmod,fchmodat,bind", "-o"]).arg(session.path("calls"));
    let has_strace = std::process::Command::new("strace").arg("-V").output().is_ok();
    let mut server = if has_strace { server } else { session.command("env") };
    let mut child =
        server.arg(session.path("kcov-broker")).args(["metrics", "--listen"]).arg(&socket).spawn()?;
    let mode = || Some(std::fs::symlink_metadata(&socket).ok()?.permissions().mode() & 0o777);
    let seen = until("the socket", Duration::from_secs(60), mode);
    std::fs::remove_file(&socket)?;
    std::os::unix::fs::symlink(&precious, &socket)?;
    session.kill();
    child.wait()?;
    assert_eq!(seen?, 0o666);
    assert_eq!(std::fs::metadata(&precious)?.permissions().mode() & 0o777, 0o600);
    let calls = std::fs::read_to_string(session.path("calls")).unwrap_or_default();
    assert!(!calls.contains("chmod"), "{calls}");
    Ok(())
}
