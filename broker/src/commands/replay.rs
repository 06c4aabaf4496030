//! `kcov-broker replay`: repeats the calls during which a handler crashed.
//!
//! The worker program itself does this, without a tenant, a broker or a jail. It loads the handlers as for a
//! run and gives them the calls of the artifact, in the same order, with the memory that they read. The crash
//! then happens again where a debugger can see it.

use crate::artifact::End;
use crate::artifact::build;
use crate::artifact::record::{Artifact, Binary, Library};
use crate::launch::{parse, preload};
use crate::printable;
use anyhow::Context;
use kcov_proto::journal::REPLAY_COMPLETED;
use nix::sys::signal::Signal;
use serde::Serialize;
use std::io::{Write, stderr};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Interval between checks whether a replay has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Deadline of a replay whose handler hung.
const HANG: Duration = Duration::from_secs(5);
/// Deadline of other replays. Sanitizers may take long to look up symbols.
const OTHER: Duration = Duration::from_secs(60);

/// Arguments of `replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// Directory of the artifact. Replay runs the programs and libraries that it names, so only use artifacts
    /// that you trust
    #[arg(value_name = "ARTIFACT")]
    artifact: PathBuf,

    /// Run it under gdb, which stops where the handler crashes or exits
    #[arg(long, conflicts_with = "json")]
    gdb: bool,

    /// An argument for gdb; may be given several times. With any argument, gdb only starts the program if one
    /// is -ex=run
    #[arg(long, value_name = "ARGUMENT", requires = "gdb", allow_hyphen_values = true)]
    gdb_arg: Vec<String>,

    /// Time after which the handler counts as hanging [default: 5s if it hung before, else 60s]
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    deadline: Option<Duration>,

    /// Use this worker program instead, for example a new build
    #[arg(long, value_name = "PATH")]
    worker: Option<PathBuf>,

    /// Use this library instead of that of the artifact, for example a new build. If there are several, give
    /// all of them in their order
    #[arg(long = "handler", value_name = "LIBRARY[:CONFIG]")]
    handlers: Vec<String>,

    /// Print the result as JSON. Output of the handler goes to standard error
    #[arg(long)]
    json: bool,
}

/// The result of a replay.
#[derive(Debug, Serialize)]
struct Outcome {
    reproduced: bool,
    /// How the worker ended in the run.
    end: String,
    /// How it ended in the replay; absent if the handler returned from all calls.
    again: Option<String>,
    call: String,
    place: Option<String>,
}

/// Replays an artifact. The exit code is 0 if the handler ended the same way, 1 if not.
///
/// # Errors
/// If the directory is not an artifact, a file that it names is gone or was rebuilt, or nothing can be
/// started.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let artifact = Artifact::load(&args.artifact)?;
    let mut command = command(&artifact, args)?;
    if args.gdb {
        return Err(under_gdb(&command, args, artifact.end).exec())
            .context("cannot start gdb: is it installed?");
    }
    if args.json {
        command.stdout(Stdio::from(stderr().as_fd().try_clone_to_owned()?));
    } else {
        writeln!(std::io::stdout(), "{} in {}", artifact.end.name(), printable::line(&artifact.call))?;
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    let deadline = args.deadline.unwrap_or(if artifact.end == End::Hang { HANG } else { OTHER });
    let again = end(wait(child, deadline)?);
    if again == Some(End::Exit(i32::from(crate::front::BROKER_FAILED))) && again != Some(artifact.end) {
        anyhow::bail!("{program} cannot replay the artifact, see its message above");
    }
    let outcome = Outcome {
        reproduced: again == Some(artifact.end),
        end: artifact.end.name(),
        again: again.map(End::name),
        place: artifact.place(),
        call: artifact.call,
    };
    print(&outcome, args.json)?;
    Ok(if outcome.reproduced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(outcome: &Outcome, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", printable::to_json(outcome)?)?;
        return Ok(());
    }
    let verdict = if outcome.reproduced { "reproduced" } else { "not reproduced" };
    writeln!(out, "{verdict}: {}", outcome.again.as_deref().unwrap_or("the handler returns"))?;
    Ok(())
}

/// Waits for the process to end. Kills it and returns `None` if it misses the deadline.
fn wait(mut child: Child, deadline: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// How the worker program ended; `None` if the handler returned from all calls.
fn end(status: Option<ExitStatus>) -> Option<End> {
    match status {
        None => Some(End::Hang),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => Some(End::Signal(signal)),
            (None, Some(code)) if code == i32::from(REPLAY_COMPLETED) => None,
            (None, code) => Some(End::Exit(code.unwrap_or(-1))),
        },
    }
}

fn under_gdb(command: &Command, args: &ReplayArgs, end: End) -> Command {
    let mut gdb = Command::new("gdb");
    if matches!(end, End::Exit(_)) {
        gdb.args(["-ex", "catch syscall exit_group"]);
    }
    if args.gdb_arg.is_empty() {
        gdb.args(["-ex", "run"]);
    }
    gdb.args(&args.gdb_arg);
    for (name, value) in command.get_envs() {
        // Only for the program, not for gdb itself.
        let value = value.unwrap_or_default();
        gdb.arg("-iex").arg(format!("set environment {} {}", name.display(), value.display()));
    }
    gdb.arg("--args").arg(command.get_program()).args(command.get_args());
    gdb
}

fn command(artifact: &Artifact, args: &ReplayArgs) -> anyhow::Result<Command> {
    let worker = match &args.worker {
        Some(worker) => worker.clone(),
        None => unchanged(&artifact.worker, "the worker program", "--worker PATH")?.to_owned(),
    };
    // Absolute, because gdb searches relative paths in other places.
    let mut command = Command::new(std::path::absolute(worker)?);
    command.arg("replay").arg(std::path::absolute(args.artifact.join("events.bin"))?);
    if artifact.end == End::Signal(Signal::SIGSYS as i32) {
        command.arg("--jail");
    }
    if args.handlers.is_empty() {
        for Library { binary, config } in &artifact.handlers {
            let path = unchanged(binary, "the handler", "--handler LIBRARY[:CONFIG]")?.display();
            let config = config.as_ref().map(|config| format!(":{config}")).unwrap_or_default();
            command.arg(format!("--handler={path}{config}"));
        }
    } else {
        command.args(args.handlers.iter().map(|handler| format!("--handler={handler}")));
    }
    let given: Vec<_> = args.handlers.iter().map(Into::into).collect();
    let replaced = preload::of(&given)?.map(|libraries| libraries.to_string_lossy().into_owned());
    let preload = if args.handlers.is_empty() { artifact.preload.clone() } else { replaced };
    command.envs(preload::environment(preload.as_deref(), true));
    Ok(command)
}

/// The file of a program or library, if it still is the build that ran.
fn unchanged<'a>(binary: &'a Binary, what: &str, option: &str) -> anyhow::Result<&'a Path> {
    let path = Path::new(&binary.path);
    let build = build::of(path).with_context(|| {
        format!("{what} {} does not exist any more: name it with {option}", path.display())
    })?;
    match &binary.build {
        Some(then) if *then != build => anyhow::bail!(
            "{what} {} was rebuilt since (build {then}, now {build}): to use the new build, name it with {option}",
            path.display()
        ),
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_distinguished() {
        let status = |raw| Some(ExitStatus::from_raw(raw));
        assert_eq!(end(None), Some(End::Hang));
        assert_eq!(end(status(11)), Some(End::Signal(11)));
        assert_eq!(end(status(0)), Some(End::Exit(0)), "a handler that ends the program");
        assert_eq!(end(status(i32::from(REPLAY_COMPLETED) << 8)), None);
    }

    #[test]
    fn a_missing_or_rebuilt_file_is_refused() {
        let result = |path: &str, build: &str| {
            let binary = Binary { path: path.to_owned(), build: Some(build.to_owned()) };
            unchanged(&binary, "the handler", "--handler X").map(drop).map_err(|error| error.to_string())
        };
        let program = std::env::current_exe().expect("a program").display().to_string();
        let build = build::of(Path::new(&program)).expect("a build");
        assert_eq!(result(&program, &build), Ok(()));
        assert!(result(&program, "00").is_err_and(|text| text.contains("rebuilt since (build 00")));
        assert!(
            result("/nowhere", "00")
                .is_err_and(|text| text.contains("does not exist any more: name it with --handler X"))
        );
    }
}
