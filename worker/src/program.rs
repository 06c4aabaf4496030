//! The `main` function of worker programs, and their command line. Only the broker uses this command line.

use crate::bench::MemoryMover;
use crate::handler::Handler;
use crate::loading::Library;
use crate::replay;
use crate::zygote::{self, ZygoteConfig, ZygoteError};
use kcov_proto::journal::REPLAY_COMPLETED;
use std::process::ExitCode;

const USAGE: &str = "\
kcov-worker is started by kcov-broker; do not run it directly.
usage: kcov-worker zygote --uid=N --parent=PID [--memory=BYTES --areas=BYTES] [--cover]
                          [--handler=LIBRARY[:CONFIG]]...
       kcov-worker replay EVENTS [--jail] [--handler=LIBRARY[:CONFIG]]...
       kcov-worker bench-record [--json]";

/// Exit status if the program could not do what was asked.
const FAILED: u8 = 125;

/// The `main` function of a worker program with these handlers. Users start it with
/// `kcov-broker run --worker PROGRAM`.
///
/// Handlers are asked in this order, then those of `--handler` libraries. They exist once, before the program
/// gives up its privileges, and each worker inherits a copy by fork. So a handler must not start threads or
/// keep descriptors open.
///
/// ```no_run
/// use kcov_worker::handler::{Answer, Caller, Claim, Handler};
///
/// struct Answers;
///
/// impl Handler for Answers {
///     fn name(&self) -> &str {
///         "answers"
///     }
///     fn claims(&self) -> Vec<Claim> {
///         vec![Claim::call("getppid")]
///     }
///     fn call(&mut self, _: &kcov_worker::Call, _: &mut Caller<'_>) -> Answer {
///         kcov_worker::kcov_edge!();
///         Answer::Value(42)
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     kcov_worker::main([Box::new(Answers)])
/// }
/// ```
#[must_use]
pub fn main<const N: usize>(handlers: [Box<dyn Handler>; N]) -> ExitCode {
    program(std::env::args().skip(1).collect(), handlers.into())
}

/// Runs a worker program with these command-line arguments, without the program name.
#[must_use]
pub fn program(arguments: Vec<String>, handlers: Vec<Box<dyn Handler>>) -> ExitCode {
    let mut success = ExitCode::SUCCESS;
    let result = match arguments.split_first() {
        Some((command, rest)) if command == "zygote" => match config(rest) {
            Some(config) => {
                let bench = config.bench.then(|| Box::<MemoryMover>::default() as Box<dyn Handler>);
                match zygote::run(&config, handlers.into_iter().chain(bench).collect()) {
                    Err(ZygoteError::Reported) => return ExitCode::from(FAILED),
                    ended => ended.map_err(|error| error.to_string()),
                }
            }
            None => Err(USAGE.to_owned()),
        },
        Some((command, rest)) if command == "replay" => {
            // A handler can end the program with status 0, so success needs a distinct status.
            success = ExitCode::from(REPLAY_COMPLETED);
            replay::run(rest, handlers).map_err(|error| format!("{error:#}"))
        }
        Some((command, _)) if command == "bench-record" => {
            crate::bench::run().map_err(|error| format!("{error:#}"))
        }
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => success,
        Err(message) => {
            eprintln!("kcov-worker: {message}");
            ExitCode::from(FAILED)
        }
    }
}

fn config(arguments: &[String]) -> Option<ZygoteConfig> {
    let mut config = ZygoteConfig::default();
    for argument in arguments {
        match argument.split_once('=').unwrap_or((argument, "")) {
            ("--cover", "") => config.cover = true,
            ("--bench-handler", "") => config.bench = true,
            ("--uid", value) => config.uid = value.parse().ok()?,
            ("--parent", value) => config.parent = value.parse().ok()?,
            ("--memory", value) => config.memory = Some(value.parse().ok()?),
            ("--areas", value) => config.areas = value.parse().ok()?,
            ("--handler", value) => config.libraries.push(Library::parse(value)?),
            _ => return None,
        }
    }
    Some(config)
}
