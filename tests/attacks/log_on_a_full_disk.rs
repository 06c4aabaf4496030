//! Attacker: a tenant that fills the disk of the log
//! Tries: to crash handlers, so that lines of the log cannot be written
//! Wins: the end of the broker, and with it of the command
//! Must: the command runs to its end, and its exit status is passed on

use anyhow::Result;
use kcov_tests::{Session, client, library};
use std::fs::OpenOptions;

#[test]
fn outlived() -> Result<()> {
    let session = Session::new()?;
    let mut command = session.command(session.path("kcov-broker"));
    command.args(["run", "--handler"]).arg(library("abort_of_the_caller")?);
    command.args(["--", "sh", "-c", "for i in 1 2 3; do $0; done; exit 7"]).arg(client("attacked")?);
    let status = command.stderr(OpenOptions::new().write(true).open("/dev/full")?).status()?;
    assert_eq!(status.code(), Some(7));
    Ok(())
}
