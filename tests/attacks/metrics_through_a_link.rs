//! Attacker: the user who owns the folder of the metrics file
//! Tries: to put links in place of the file
//! Wins: a file of root with the text of the metrics
//! Must: the link is replaced, and what it leads to is as before

use anyhow::Result;
use kcov_tests::Session;

#[test]
fn replaced() -> Result<()> {
    let session = Session::new()?;
    let (precious, file) = (session.path("precious"), session.path("kcov.prom"));
    std::fs::write(&precious, "text")?;
    std::os::unix::fs::symlink(&precious, &file)?;
    let output =
        session.command(session.path("kcov-broker")).args(["metrics", "--file"]).arg(&file).output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!file.is_symlink() && file.is_file());
    assert_eq!(std::fs::read_to_string(&precious)?, "text");
    Ok(())
}
