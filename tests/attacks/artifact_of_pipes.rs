//! Attacker: the user who owns a folder of artifacts
//! Tries: to put pipes in place of the files of an artifact
//! Wins: a list of artifacts that never ends
//! Must: the list ends, and names the artifact with the reason

use anyhow::Result;
use kcov_tests::Session;
use nix::sys::stat::Mode;

#[test]
fn not_waited_for() -> Result<()> {
    let session = Session::new()?;
    let artifact = session.path("crashes/SIGSEGV-1");
    std::fs::create_dir_all(&artifact)?;
    for file in ["artifact.json", "sightings.json"] {
        nix::unistd::mkfifo(&artifact.join(file), Mode::from_bits_truncate(0o666))?;
    }
    let mut command = session.command("timeout");
    let output = command
        .arg("20")
        .arg(session.path("kcov-broker"))
        .arg("artifacts")
        .arg(session.path("crashes"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("not a regular file"), "{said}");
    Ok(())
}
