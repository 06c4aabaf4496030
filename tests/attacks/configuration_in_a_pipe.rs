//! Attacker: the user who owns the folder of a configuration
//! Tries: to put a pipe that nobody writes to in place of the file
//! Wins: a check, or a reload of the service, that never ends
//! Must: the file is refused at once

use anyhow::Result;
use kcov_tests::Session;
use nix::sys::stat::Mode;

#[test]
fn not_waited_for() -> Result<()> {
    let session = Session::new()?;
    let file = session.path("serve.toml");
    nix::unistd::mkfifo(&file, Mode::from_bits_truncate(0o666))?;
    let mut command = session.command("timeout");
    let output = command.arg("20").arg(session.path("kcov-broker")).arg("check").arg(&file).output()?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}
