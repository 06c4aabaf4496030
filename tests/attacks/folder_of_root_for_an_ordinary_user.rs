//! Attacker: an ordinary user who runs kcov-broker
//! Tries: to have artifacts and reports written into folders of root
//! Wins: files in folders of root
//! Must: the kernel refuses it, and the message names the folder

use anyhow::Result;
use kcov_tests::{Run, ordinary};

#[test]
fn refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for option in ["--artifacts", "--report"] {
        let path = folder.path().join("new").to_string_lossy().into_owned();
        let session = ordinary::session()?;
        let broker = session.path("kcov-broker").to_string_lossy().into_owned();
        let mut line = ordinary::as_user()?;
        line.extend([broker, "run".into(), option.into(), path, "--".into(), "true".into()].map(Into::into));
        let outcome = Run::new(line).bare().start_in(session)?.finish()?;
        assert_eq!(outcome.code(), 125, "{option}");
        assert!(outcome.stderr.contains(&*folder.path().to_string_lossy()), "{}", outcome.stderr);
    }
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}
