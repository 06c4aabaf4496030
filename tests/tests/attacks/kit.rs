//! What several attacks need.

use anyhow::{Context, Result, ensure};
use kcov_tests::ordinary::{self, NOBODY_IN_PARTICULAR};
use kcov_tests::process::Process;
use kcov_tests::service::{Service, tenant};
use kcov_tests::{Run, Session, client, library, until};
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const WITHIN: Duration = Duration::from_secs(60);

/// A command of a user who is not root.
pub fn as_stranger(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    let ids = [format!("--reuid={NOBODY_IN_PARTICULAR}"), format!("--regid={NOBODY_IN_PARTICULAR}")];
    command.args(ids).args(["--clear-groups", "env"]).arg(program);
    command
}

/// Gives a file, or a link itself, to that user.
pub fn give(path: &Path) -> Result<()> {
    Ok(lchown(path, Some(NOBODY_IN_PARTICULAR), Some(NOBODY_IN_PARTICULAR))?)
}

/// A folder of that user.
pub fn folder_of_stranger(mode: u32) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), Permissions::from_mode(mode))?;
    give(folder.path())?;
    Ok(folder)
}

/// A run of root whose handler crashes once, with artifacts in `folder`.
pub fn crash(folder: &Path) -> Result<Run> {
    let words = [client("attacked")?];
    let options = ["--artifacts".as_ref(), folder.as_os_str(), "--handler".as_ref()];
    let library = library("abort_of_the_caller")?;
    let mut options = options.into_iter().chain([library.as_os_str()]);
    options
        .try_fold(Run::new(words), |run, option| Ok(run.option(option.to_str().context("a path in UTF-8")?)))
}

/// What a run says that must be refused.
pub fn refusal(run: &Run) -> Result<String> {
    let outcome = run.output()?;
    ensure!(outcome.code() == 125 && outcome.stdout.is_empty(), "{}\n{}", outcome.stdout, outcome.stderr);
    Ok(outcome.stderr)
}

/// Runs a script as a tenant of a service with its own user. Returns its output, which tells what succeeded, once
/// the tenant and the service still run afterwards.
pub fn attempt_of_tenant(script: &str) -> Result<String> {
    let folder = folder_of_stranger(0o755)?;
    let output = folder.path().join("output");
    std::fs::write(&output, "")?;
    std::fs::set_permissions(&output, Permissions::from_mode(0o666))?;
    let script = format!("{{ {script}; }} >>{0}; echo done >>{0}; exec sleep 1000", output.display());
    let keys = "user = \"nobody\"\ntrace = \"getppid\"\ndirectory = \"/\"";
    let service = Service::start(&tenant("one", &["sh", "-c", &script], keys))?;
    let text = until("the end of the script", WITHIN, || {
        Some(std::fs::read_to_string(&output).ok()?.strip_suffix("done\n")?.to_owned())
    });
    let text = text.with_context(|| service.log())?;
    ensure!(service.tenant("one")?.state == "running", "{}", service.log());
    service.stop()?;
    Ok(text)
}

/// What `look` finds out about a reader, of root or of an ordinary user.
pub fn reader(rootless: bool, look: impl Fn(&Process) -> Option<String>) -> Result<String> {
    let words = ["sleep", "1000"];
    let session = if rootless { ordinary::session()? } else { Session::new()? };
    let run = if rootless { ordinary::run(&session, &[], &words)? } else { Run::new(words) };
    let running = run.start_in(session)?;
    let confined = |reader: &Process| reader.status().is_some_and(|status| status["Seccomp"] == "2");
    until("a reader", WITHIN, || {
        running.session.named("kcov-reader").iter().filter(|reader| confined(reader)).find_map(&look)
    })
}

/// What a service of root says that must not start, as its control socket is in `folder`.
pub fn refused_socket(folder: &Path) -> Result<String> {
    let session = Session::new()?;
    let config = session.path("serve.toml");
    std::fs::write(&config, format!("[serve]\nsocket = {:?}\n", folder.join("control").display()))?;
    let mut command = session.command("timeout");
    command.arg("20").arg(session.path("kcov-broker")).args(["serve", "--config"]).arg(&config);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{said}");
    Ok(said)
}
