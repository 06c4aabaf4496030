//! Attacker: the user who owns a folder that root writes to
//! Tries: to put a pipe that nobody reads at the path of a report
//! Wins: a run of root that never starts
//! Must: the run is refused at once

use anyhow::Result;
use kcov_tests::Session;
use nix::sys::stat::Mode;

#[test]
fn refused() -> Result<()> {
    let session = Session::new()?;
    let report = session.path("r");
    nix::unistd::mkfifo(&report, Mode::from_bits_truncate(0o666))?;
    let mut command = session.command("timeout");
    command.arg("20").arg(session.path("kcov-broker"));
    let output = command.arg("run").arg("--report").arg(&report).args(["--", "true"]).output()?;
    assert_eq!(output.status.code(), Some(125), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
