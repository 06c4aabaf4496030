//! `kcov-broker replay`: runs a handler again on what it was at when it died.
//!
//! The worker program itself does it, without a tenant, a broker or a jail: handlers are loaded as for a run, and given
//! the calls of the artifact, in their order, with the memory that they read. So the death happens again where a
//! debugger can see it.

use crate::artifact::{Artifact, End};
use anyhow::Context;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

/// How often a replay is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Arguments of `replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// The folder of the artifact
    #[arg(value_name = "ARTIFACT")]
    artifact: PathBuf,

    /// Run it under gdb
    #[arg(long)]
    gdb: bool,

    /// How long a handler that hung may take to be said to hang again
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::run::parse_time)]
    deadline: Duration,

    /// Another worker program, built anew
    #[arg(long, value_name = "PATH")]
    worker: Option<PathBuf>,

    /// Another library for the one of the artifact, built anew; for several, all of them in their order
    #[arg(long = "handler", value_name = "LIBRARY[:CONFIG]")]
    handlers: Vec<String>,
}

/// Replays. The exit code is 0 if the handler died the same way, 1 if not.
///
/// # Errors
/// If the folder is no artifact, or the worker program does not start.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let artifact = Artifact::load(&args.artifact)?;
    let mut command = command(&artifact, args);
    if args.gdb {
        let mut gdb = Command::new("gdb");
        gdb.arg("--args").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            gdb.env(name, value.unwrap_or_default());
        }
        return Err(gdb.exec()).context("cannot start gdb: is it installed?");
    }
    println!("{} in {}", artifact.end.name(), artifact.call);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() < args.deadline => std::thread::sleep(LOOK),
            None => {
                child.kill()?;
                child.wait()?;
                break None;
            }
        }
    };
    let again = end(status);
    let same = again == Some(artifact.end);
    let said = again.map_or_else(|| "it returns".to_owned(), |end| end.name());
    println!("{}: {said}", if same { "reproduced" } else { "not reproduced" });
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How the worker program ended; `None` if it came to the end of what there is to do.
fn end(status: Option<ExitStatus>) -> Option<End> {
    match status {
        None => Some(End::Hang),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => Some(End::Signal(signal)),
            (None, Some(0)) => None,
            (None, code) => Some(End::Exit(code.unwrap_or(-1))),
        },
    }
}

fn command(artifact: &Artifact, args: &ReplayArgs) -> Command {
    let worker = args.worker.clone().unwrap_or_else(|| PathBuf::from(&artifact.worker));
    let mut command = Command::new(worker);
    command.arg("replay").arg(args.artifact.join("events.bin"));
    if args.handlers.is_empty() {
        command.args(&artifact.handlers);
    } else {
        command.args(args.handlers.iter().map(|handler| format!("--handler={handler}")));
    }
    if let Some(preload) = &artifact.preload {
        command.env("LD_PRELOAD", preload);
        command.env("ASAN_OPTIONS", "abort_on_error=1:detect_leaks=0");
    }
    command
}
