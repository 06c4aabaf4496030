//! One run: `kcov-broker run [OPTIONS] -- COMMAND ARGS`, the same with `cover`, or only COMMAND for
//! comparison.

use crate::control::Control;
use crate::outcome::Outcome;
use crate::process::Process;
use crate::session::Session;
use crate::wait::until;
use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

/// Deadline of a run that hangs. Generous: a run of a second may take half a minute while the machine
/// compiles.
const WITHIN: Duration = Duration::from_secs(120);
/// Deadline of the broker's end after the last process of the command.
const END_WITHIN: Duration = Duration::from_secs(30);

/// The settings of a run.
#[derive(Clone, Debug)]
pub struct Run {
    command: Vec<OsString>,
    options: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    input: Vec<u8>,
    within: Duration,
    verb: &'static str,
    bare: bool,
    rootless: bool,
}

impl Run {
    /// A run of `command`, the program and its arguments.
    pub fn new<I: IntoIterator<Item: Into<OsString>>>(command: I) -> Self {
        Run {
            command: command.into_iter().map(Into::into).collect(),
            options: Vec::new(),
            environment: Vec::new(),
            directory: None,
            input: Vec::new(),
            within: WITHIN,
            verb: "run",
            bare: false,
            rootless: false,
        }
    }

    /// A run of `script` by bash.
    #[must_use]
    pub fn bash(script: &str) -> Self {
        Run::new(["bash", "-c", script])
    }

    /// Sets the calls to trace.
    #[must_use]
    pub fn trace(self, profile: &str) -> Self {
        self.option("--trace").option(profile)
    }

    /// Runs `kcov-broker cover` instead of `run`.
    #[must_use]
    pub fn covered(mut self) -> Self {
        self.verb = "cover";
        self
    }

    /// Adds one word to the options of `kcov-broker run`.
    #[must_use]
    pub fn option(mut self, word: &str) -> Self {
        self.options.push(word.into());
        self
    }

    /// Logs in JSON, for [`Outcome::events`]: warnings, or more with `-v` and `-vv`.
    #[must_use]
    pub fn logged(self) -> Self {
        self.option("--log-format").option("json")
    }

    /// Adds a variable to the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.directory = Some(path.into());
        self
    }

    /// Sets standard input, which is empty by default.
    #[must_use]
    pub fn input(mut self, bytes: &[u8]) -> Self {
        self.input = bytes.to_vec();
        self
    }

    /// Sets the deadline of the whole run.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Runs the command without the broker.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Runs the broker as root of a user namespace that maps no other user, and so as an ordinary user.
    #[must_use]
    pub fn rootless(mut self) -> Self {
        self.rootless = true;
        self
    }

    /// Starts the run in a new session.
    ///
    /// # Errors
    /// When the session cannot be created or the front cannot be started.
    pub fn start(&self) -> Result<Running> {
        self.start_in(Session::new()?)
    }

    /// Starts the run in `session`, which the caller has created, so that the command line can name its
    /// paths.
    ///
    /// # Errors
    /// When the front cannot be started.
    pub fn start_in(&self, session: Session) -> Result<Running> {
        fs::write(session.path("stdin"), &self.input)?;
        let mut command = self.line(&session)?;
        command.stdin(File::open(session.path("stdin"))?);
        command.stdout(File::create(session.path("stdout"))?);
        command.stderr(File::create(session.path("stderr"))?);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let child = command.spawn().with_context(|| format!("start of {command:?}"))?;
        Ok(Running { session, child, within: self.within })
    }

    /// The command line in `session`.
    ///
    /// # Errors
    /// For a bare run without a command.
    pub fn line(&self, session: &Session) -> Result<Command> {
        if self.bare {
            let (program, arguments) = self.command.split_first().context("a bare run needs a command")?;
            let mut command = session.command(program);
            command.args(arguments);
            return Ok(command);
        }
        let broker = session.path("kcov-broker");
        let mut command = match self.rootless {
            true => session.command("unshare"),
            false => session.command(&broker),
        };
        if self.rootless {
            command.arg("--map-root-user").arg(&broker);
        }
        command.arg(self.verb).args(&self.options).arg("--report").arg(session.path("report"));
        command.arg("--").args(&self.command);
        Ok(command)
    }

    /// Starts the run and waits for its end.
    ///
    /// # Errors
    /// When it does not start, or does not end in time.
    pub fn output(&self) -> Result<Outcome> {
        self.start()?.finish()
    }
}

/// A run that was started. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    /// Its session.
    pub session: Session,
    child: Child,
    within: Duration,
}

impl Running {
    /// The front: the process that a shell would see.
    #[must_use]
    pub fn front(&self) -> Process {
        Process(self.child.id().cast_signed())
    }

    /// Sends `signal` to the front.
    ///
    /// # Errors
    /// When the front is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.front().0), signal)?)
    }

    /// Waits only for the front; processes that the command left in the background may live on.
    ///
    /// # Errors
    /// When it does not end in time; the message says what each process of the run was doing.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let child = &mut self.child;
        let ended = until("the run to end", self.within, || child.try_wait().ok().flatten());
        ended.with_context(|| self.state())
    }

    /// Waits for the front, then for the broker and all its processes.
    ///
    /// # Errors
    /// When one of them does not end in time.
    pub fn finish(mut self) -> Result<Outcome> {
        let status = self.wait()?;
        let session = &self.session;
        let gone = until("the broker's processes to end", END_WITHIN, || {
            session.own_processes().is_empty().then_some(())
        });
        gone.with_context(|| self.state())?;
        let text = |name: &str| fs::read(self.session.path(name));
        // Created at the start, and empty if the command did not run.
        let report = match text("report") {
            Ok(bytes) if !bytes.is_empty() => {
                Some(serde_json::from_slice(&bytes).context("the report is not valid")?)
            }
            _ => None,
        };
        Ok(Outcome {
            status,
            stdout: String::from_utf8_lossy(&text("stdout")?).into_owned(),
            stderr: String::from_utf8_lossy(&text("stderr")?).into_owned(),
            report,
        })
    }

    /// Waits until word `index` of the client is at least `value`.
    ///
    /// # Errors
    /// When that does not happen in time, or the run ends first; the message has the output.
    pub fn reach(&mut self, control: &Control, index: u64, value: u64) -> Result<u64> {
        let child = &mut self.child;
        let what = format!("word {index} of the client to be {value}");
        let reached = until(&what, self.within, || {
            // Before the word is read, so that the last write of a client that has ended is seen.
            let ended = child.try_wait().ok().flatten();
            match (control.get(index), ended) {
                (Ok(word), Some(ended)) if word < value => {
                    Some(Err(anyhow!("the run ended ({ended}) while waiting for {what}")))
                }
                (Ok(word), None) if word < value => None,
                (word, _) => Some(word),
            }
        });
        reached.and_then(|word| word).with_context(|| self.state())
    }

    /// Standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(self.session.path("stdout")).unwrap_or_default()
    }

    /// What each process of the run is doing, and the end of its standard error.
    fn state(&self) -> String {
        let mut state = String::from("processes (pid, name, state, system call and arguments):\n");
        for process in self.session.processes() {
            let call = fs::read_to_string(format!("/proc/{}/syscall", process.0)).unwrap_or_default();
            let condition = process.status().and_then(|mut status| status.remove("State"));
            state += &format!("{} {:?} {condition:?} {call}", process.0, process.name().unwrap_or_default());
        }
        let stderr = fs::read_to_string(self.session.path("stderr")).unwrap_or_default();
        let lines: Vec<_> = stderr.lines().collect();
        state + "\nstandard error:\n" + &lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.session.kill();
        // Reaps the front, which is dead or was reaped before.
        let _ = self.child.wait();
    }
}
