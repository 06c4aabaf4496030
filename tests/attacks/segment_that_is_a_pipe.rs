//! Attacker: a user of the machine
//! Tries: to put a pipe with the name of a segment into /dev/shm
//! Wins: a list of tenants that never ends
//! Must: the list ends

use anyhow::Result;
use kcov_tests::Session;
use nix::sys::stat::Mode;

#[test]
fn not_waited_for() -> Result<()> {
    let session = Session::new()?;
    let segment = format!("/dev/shm/kcov-broker.61234.attack-{}", std::process::id());
    nix::unistd::mkfifo(segment.as_str(), Mode::from_bits_truncate(0o666))?;
    let mut command = session.command("timeout");
    let output =
        command.arg("20").arg(session.path("kcov-broker")).args(["status", "--all", "--json"]).output()?;
    std::fs::remove_file(&segment)?;
    assert_ne!(output.status.code(), Some(124), "it ended by itself");
    Ok(())
}
