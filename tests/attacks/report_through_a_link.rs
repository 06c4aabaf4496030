//! Attacker: the user who owns a folder that root writes to
//! Tries: to put a link to a file of root at the path of a report
//! Wins: a file of root that has the text of the report, or none
//! Must: the run is refused, and the file is as before

use anyhow::Result;
use kcov_tests::Session;

#[test]
fn refused() -> Result<()> {
    let session = Session::new()?;
    let (precious, report) = (session.path("precious"), session.path("r"));
    std::fs::write(&precious, "text")?;
    std::os::unix::fs::symlink(&precious, &report)?;
    let mut command = session.command(session.path("kcov-broker"));
    let output = command.arg("run").arg("--report").arg(&report).args(["--", "true"]).output()?;
    assert_eq!(output.status.code(), Some(125));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write the report") && said.contains("symbolic link"), "{said}");
    assert_eq!(std::fs::read_to_string(&precious)?, "text");
    Ok(())
}
