//! Attacker: a user who names runs and tenants
//! Tries: to use a name with a newline, an escape sequence or a path
//! Wins: lines and colours of its choice in the operator's terminal, or files elsewhere
//! Must: the name is refused

use anyhow::Result;
use kcov_tests::Session;

#[test]
fn refused() -> Result<()> {
    let session = Session::new()?;
    for name in ["a\nb", "a\u{1b}[2J", ""] {
        let mut command = session.command(session.path("kcov-broker"));
        let output = command.args(["run", "--name", name, "--", "true"]).output()?;
        assert_eq!(output.status.code(), Some(125), "{name:?}");
        assert!(!output.stderr.contains(&0x1b), "{name:?}");
    }
    let config = session.path("serve.toml");
    std::fs::write(&config, "[[tenant]]\nname = \"../a\"\ncommand = [\"true\"]\n")?;
    let output = session.command(session.path("kcov-broker")).arg("check").arg(&config).output()?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}
