//! A service: `kcov-broker serve` with a configuration, in a session of its own, and its operator.

use crate::control::Control;
use crate::process::Process;
use crate::session::Session;
use crate::wait::until;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// Deadline of anything that hangs.
const WITHIN: Duration = Duration::from_secs(120);

/// A tenant as `tenant list --json` shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Duration of the last start, milliseconds.
    pub start_ms: Option<u64>,
    /// Number of starts.
    pub starts: u64,
    /// Consecutive restarts.
    pub restarts: u32,
    /// Failed runs.
    pub failures: u64,
    /// Process id of its broker.
    pub broker: Option<i32>,
    /// uid of its workers.
    pub uid: Option<u32>,
    /// Exit status of the last run.
    pub last_status: Option<u8>,
    /// The reason of the last failure.
    pub message: Option<String>,
    /// Time since the end of the last run, milliseconds.
    pub last_end_ms: Option<u64>,
    /// Duration of the last run, milliseconds.
    pub last_run_ms: Option<u64>,
    /// Whether it is in the configuration file.
    pub configured: bool,
}

/// A running service. Dropping it kills what is left.
#[derive(Debug)]
pub struct Service {
    /// Its session.
    pub session: Session,
    child: Child,
    prefix: Vec<OsString>,
}

/// Defaults of every tenant: they inherit the mark of the session.
#[must_use]
pub fn defaults() -> &'static str {
    "[defaults]\ninherit-environment = [\"KCOV_TESTS_SESSION\"]\n"
}

/// A `[[tenant]]` section.
#[must_use]
pub fn tenant<W: AsRef<OsStr>>(name: &str, command: &[W], keys: &str) -> String {
    let words: Vec<_> = command.iter().map(|word| format!("{:?}", word.as_ref().to_string_lossy())).collect();
    format!("[[tenant]]\nname = \"{name}\"\ncommand = [{}]\n{keys}\n", words.join(", "))
}

impl Service {
    /// Starts a service with these tenants, in a new session.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn start(tenants: &str) -> Result<Self> {
        Service::start_in(Session::new()?, tenants, &[], &[])
    }

    /// Starts the service in `session`, with the command `prefix` in front and these environment variables,
    /// and waits until it answers.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn start_in(
        session: Session,
        tenants: &str,
        prefix: &[OsString],
        variables: &[(&str, PathBuf)],
    ) -> Result<Self> {
        fs::write(session.path("config.toml"), format!("{}{tenants}", defaults()))?;
        let child = spawn(&session, prefix, variables)?;
        let mut service = Service { session, child, prefix: prefix.to_vec() };
        service.answers()?;
        Ok(service)
    }

    fn answers(&mut self) -> Result<()> {
        let answers = until("the service to answer", WITHIN, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(anyhow::anyhow!("the service ended: {status}")));
            }
            let listed = self.order(&["list"]).is_ok_and(|output| output.status.success());
            listed.then_some(Ok(()))
        });
        answers.and_then(|answer| answer).with_context(|| self.log())
    }

    /// Starts a second service with the same configuration and socket, which must fail. Returns its output.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn second(&self) -> Result<Output> {
        Ok(line(&self.session, &self.prefix)?.output()?)
    }

    /// The log so far, with the tenants' output.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.session.path("log")).unwrap_or_default()
    }

    /// The manager process.
    #[must_use]
    pub fn manager(&self) -> Process {
        Process(self.child.id().cast_signed())
    }

    /// Sends `signal` to the manager.
    ///
    /// # Errors
    /// When the manager is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.manager().0), signal)?)
    }

    /// Replaces the tenants in the configuration file, without notifying the service.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn configure(&self, tenants: &str) -> Result<()> {
        Ok(fs::write(self.session.path("config.toml"), format!("{}{tenants}", defaults()))?)
    }

    fn operator(&self, words: &[&str]) -> Command {
        let mut command = self.session.command(self.session.path("kcov-broker"));
        command.arg("tenant").arg("--socket").arg(self.session.path("ctl/socket")).args(words);
        command
    }

    /// Runs `kcov-broker tenant WORDS`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn order(&self, words: &[&str]) -> Result<Output> {
        Ok(self.operator(words).stdin(Stdio::null()).output()?)
    }

    /// Runs an [`order`](Self::order) that must succeed. Returns its standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn ordered(&self, words: &[&str]) -> Result<String> {
        success(words, self.order(words)?).with_context(|| self.log())
    }

    /// Adds tenants by `add --stdin`.
    ///
    /// # Errors
    /// When they are refused.
    pub fn add(&self, tenants: &str) -> Result<()> {
        let mut child = self
            .operator(&["add", "--stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("a pipe")?;
        input.write_all(format!("{}{tenants}", defaults()).as_bytes())?;
        drop(input);
        success(&["add"], child.wait_with_output()?).with_context(|| self.log())?;
        Ok(())
    }

    /// All tenants.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn list(&self) -> Result<Vec<Tenant>> {
        Ok(serde_json::from_str(&self.ordered(&["list", "--json"])?)?)
    }

    /// One tenant.
    ///
    /// # Errors
    /// When there is no such tenant.
    pub fn tenant(&self, name: &str) -> Result<Tenant> {
        Ok(serde_json::from_str(&self.ordered(&["status", name, "--json"])?)?)
    }

    /// Waits until `is` accepts the tenant.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn wait(&self, name: &str, what: &str, mut is: impl FnMut(&Tenant) -> bool) -> Result<Tenant> {
        let found = until(&format!("{name} to be {what}"), WITHIN, || self.tenant(name).ok().filter(&mut is));
        found.with_context(|| format!("{:?}\n{}", self.tenant(name), self.log()))
    }

    /// Waits until a tenant is in `state`.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn wait_state(&self, name: &str, state: &str) -> Result<Tenant> {
        self.wait(name, state, |tenant| tenant.state == state)
    }

    /// Waits until word `index` of a client is at least `value`.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn reach(&self, control: &Control, index: u64, value: u64) -> Result<u64> {
        let reached = until(&format!("word {index} of a client to be {value}"), WITHIN, || {
            control.get(index).ok().filter(|word| *word >= value)
        });
        reached.with_context(|| self.log())
    }

    /// Waits until the manager is the only process of the session.
    ///
    /// # Errors
    /// When another process stays.
    pub fn wait_empty(&self) -> Result<()> {
        let manager = self.manager();
        let empty = until("only the manager to be left", WITHIN, || {
            self.session.processes().iter().all(|process| *process == manager).then_some(())
        });
        empty.with_context(|| self.log())
    }

    /// Waits for the end of the manager only.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_manager(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        let status = until("the service to end", WITHIN, || child.try_wait().ok().flatten());
        status.with_context(|| self.log())
    }

    /// Waits for the end of the manager and of all that it started.
    ///
    /// # Errors
    /// When a process does not end in time.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        let status = self.wait_manager()?;
        let gone =
            until("all its processes to end", WITHIN, || self.session.processes().is_empty().then_some(()));
        gone.with_context(|| format!("{:?}\n{}", self.left(), self.log()))?;
        Ok(status)
    }

    fn left(&self) -> Vec<(Process, Option<String>)> {
        self.session.processes().into_iter().map(|process| (process, process.name())).collect()
    }

    /// Stops the service by SIGTERM, and asserts that nothing is left of it. Returns its log.
    ///
    /// # Errors
    /// When it fails, or something is left.
    pub fn stop(mut self) -> Result<String> {
        self.signal(Signal::SIGTERM)?;
        let status = self.wait_end()?;
        ensure!(status.success(), "{status}\n{}", self.log());
        ensure!(!self.session.path("ctl/socket").exists(), "the control socket still exists");
        Ok(self.log())
    }

    /// Starts the service again in its session, after its end.
    ///
    /// # Errors
    /// When the service does not answer.
    pub fn again(&mut self) -> Result<()> {
        self.child = spawn(&self.session, &self.prefix, &[])?;
        self.answers()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.session.kill();
        // Reaps the manager, which is dead or was reaped before.
        let _ = self.child.wait();
    }
}

fn line(session: &Session, prefix: &[OsString]) -> Result<Command> {
    let program = session.path("kcov-broker").into_os_string();
    let words: Vec<_> = prefix.iter().cloned().chain([program]).collect();
    let (first, rest) = words.split_first().context("a command")?;
    let mut command = session.command(first);
    command.args(rest).arg("serve").arg("--config").arg(session.path("config.toml"));
    command.arg("--socket").arg(session.path("ctl/socket"));
    Ok(command)
}

fn spawn(session: &Session, prefix: &[OsString], variables: &[(&str, PathBuf)]) -> Result<Child> {
    let log: File = OpenOptions::new().create(true).append(true).open(session.path("log"))?;
    let mut command = line(session, prefix)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.spawn().with_context(|| format!("start of {command:?}"))
}

fn success(words: &[&str], output: Output) -> Result<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tenant {}: {}: {said}", words.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
