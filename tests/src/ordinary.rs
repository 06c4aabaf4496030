//! Runs of an ordinary user with their own broker.

use crate::run::Run;
use crate::session::Session;
use anyhow::{Result, ensure};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

/// A uid that no system assigns, used if root owns the programs.
pub const NOBODY_IN_PARTICULAR: u32 = 61_234;
const WITHIN: Duration = Duration::from_secs(60);

/// Returns the user of these runs: the owner of the programs, which may be in that user's home.
///
/// # Errors
/// When there are no programs.
pub fn user() -> Result<u32> {
    let owner = fs::metadata(crate::binaries::directory()?)?.uid();
    Ok(if owner == 0 { NOBODY_IN_PARTICULAR } else { owner })
}

/// Gives a file to the user.
///
/// # Errors
/// As `chown(2)`.
pub fn own(path: &Path) -> Result<()> {
    Ok(chown(path, Some(user()?), Some(user()?))?)
}

/// Makes a session whose files belong to the user.
///
/// # Errors
/// When the user may not enter its directory.
pub fn session() -> Result<Session> {
    let (session, user) = (Session::new()?, user()?);
    own(session.directory())?;
    for ancestor in session.directory().ancestors() {
        let open = fs::metadata(ancestor)?.permissions().mode() & 0o001 != 0 || user != NOBODY_IN_PARTICULAR;
        ensure!(
            open,
            "{} is closed to other users: set KCOV_BIN_DIR to a copy elsewhere",
            ancestor.display()
        );
    }
    Ok(session)
}

/// Words in front of a command that run it as the user. `env` looks the command up, as `setpriv` would still
/// do so as root.
///
/// # Errors
/// As [`user`].
pub fn as_user() -> Result<Vec<OsString>> {
    let user = user()?;
    let ids = [format!("--reuid={user}"), format!("--regid={user}")];
    let words = ["setpriv".to_owned()].into_iter().chain(ids).chain(["--clear-groups".into(), "env".into()]);
    Ok(words.map(OsString::from).collect())
}

/// The words as one command line.
pub fn words<W: AsRef<OsStr>>(words: &[W]) -> Vec<OsString> {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}

/// The user's run of `command` under a broker.
///
/// # Errors
/// As [`user`].
pub fn run<W: AsRef<OsStr>>(session: &Session, options: &[&str], command: &[W]) -> Result<Run> {
    let broker = [session.path("kcov-broker").into_os_string(), "run".into(), "--report".into()];
    let report = [session.path("report").into_os_string()];
    let line = as_user()?.into_iter().chain(broker).chain(report).chain(words(options));
    Ok(Run::new(line.chain(["--".into()]).chain(words(command))).bare().within(WITHIN))
}
