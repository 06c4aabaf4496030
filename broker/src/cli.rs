//! The command line.

use crate::artifact::list::{self, ListArgs};
use crate::commands::bench::{self, BenchArgs, BenchClientArgs};
use crate::commands::cargo::{self, CargoArgs};
use crate::commands::cover::{self, CoverArgs};
use crate::commands::doctor::{self, DoctorArgs};
use crate::commands::manual;
use crate::commands::replay::{self, ReplayArgs};
use crate::commands::run::{self, RunArgs};
use crate::config::check::{self, CheckArgs};
use crate::live::exporter::{self, MetricsArgs};
use crate::live::status::{self, StatusArgs};
use crate::live::top::{self, TopArgs};
use crate::service::control::client::{self, TenantArgs};
use crate::service::{self, ServeArgs};
use crate::symbolize::{self, SymbolizeArgs};
use clap::{CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Gives a command a working KCOV device that user-space handlers feed.
#[derive(Debug, Parser)]
#[command(name = "kcov-broker", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command under the broker
    Run(Box<RunArgs>),
    /// Run a command as run does, then tell what the handlers covered
    Cover(Box<CoverArgs>),
    /// Run the tenants of a configuration, as a service
    Serve(ServeArgs),
    /// Check a configuration and tell all that is wrong with it
    Check(CheckArgs),
    /// Add, stop, restart and list the tenants of `kcov-broker serve`
    Tenant(TenantArgs),
    /// Tell whether a run can work here, what is missing and what to do about it
    Doctor(DoctorArgs),
    Status(StatusArgs),
    Top(TopArgs),
    Metrics(MetricsArgs),
    /// Run cargo with the crates of this workspace instrumented, for handlers in Rust
    Cargo(CargoArgs),
    /// Turn PCs into function, file and line
    Symbolize(SymbolizeArgs),
    /// List what was kept of crashes and hangs
    Artifacts(ListArgs),
    /// Run a handler again on what it was at when it died
    Replay(ReplayArgs),
    /// Measure this machine: each figure beside its limit
    Bench(BenchArgs),
    #[command(hide = true)]
    BenchClient(BenchClientArgs),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of the program, of one of its commands, of its configuration, or on handlers
    Man {
        /// Which command; or kcov-broker.toml, kcov-handler [default: the program]
        command: Option<String>,
        /// Write the pages of all of them into this directory instead
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        into: Option<PathBuf>,
    },
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = cargo::wrap() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // --help and --version come this way too, and are no failures.
            let failed = error.use_stderr();
            let _ = error.print();
            return if failed { ExitCode::from(crate::front::BROKER_FAILED) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Cover(args) => cover::run(*args),
        Command::Serve(args) => service::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Tenant(args) => client::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Metrics(args) => exporter::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Cargo(args) => cargo::run(&args),
        Command::Symbolize(args) => symbolize::run(&args),
        Command::Artifacts(args) => list::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchClient(args) => bench::client(args),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "kcov-broker", &mut text);
            print(&text)
        }
        Command::Man { into: Some(directory), .. } => {
            manual::write(Cli::command(), &directory).map(|()| ExitCode::SUCCESS)
        }
        Command::Man { command, into: None } => {
            manual::page(Cli::command(), command.as_deref()).and_then(|text| print(&text))
        }
    };
    result.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            // Who reads the output has seen enough.
            return ExitCode::SUCCESS;
        }
        eprintln!("kcov-broker: {error:#}");
        ExitCode::from(crate::front::BROKER_FAILED)
    })
}

fn print(text: &[u8]) -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(text)?;
    Ok(ExitCode::SUCCESS)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
