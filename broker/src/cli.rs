//! The command line.

use crate::commands::artifacts::{self, ArtifactsArgs};
use crate::commands::bench::{self, BenchArgs, BenchClientArgs};
use crate::commands::cargo::{self, CargoArgs};
use crate::commands::cover::{self, CoverArgs};
use crate::commands::doctor::{self, DoctorArgs};
use crate::commands::manual;
use crate::commands::metrics::{self, MetricsArgs};
use crate::commands::replay::{self, ReplayArgs};
use crate::commands::run::{self, RunArgs};
use crate::commands::status::{self, StatusArgs};
use crate::commands::symbolize::{self, SymbolizeArgs};
use crate::commands::top::{self, TopArgs};
use crate::config::check::{self, CheckArgs};
use crate::logs::print_message;
use crate::service::control::client::{self, TenantArgs};
use crate::service::{self, ServeArgs};
use clap::{CommandFactory, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs commands with a KCOV device that user-space handlers feed
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
    /// Run a command like run, then report what the handlers covered
    Cover(Box<CoverArgs>),
    /// Run the tenants of a configuration as a service
    Serve(ServeArgs),
    /// Check a configuration and report all its errors
    Check(CheckArgs),
    /// Add, stop, restart and list the tenants of `kcov-broker serve`
    Tenant(TenantArgs),
    /// Check whether this machine can run commands, and report what is missing and how to fix it
    Doctor(DoctorArgs),
    Status(StatusArgs),
    Top(TopArgs),
    Metrics(MetricsArgs),
    /// Run cargo and instrument the crates of this workspace, for handlers in Rust
    Cargo(CargoArgs),
    /// Convert PCs to function, file and line
    Symbolize(SymbolizeArgs),
    /// List the artifacts of crashes and hangs
    Artifacts(ArtifactsArgs),
    /// Repeat the calls during which a handler crashed
    Replay(ReplayArgs),
    /// Measure the performance on this machine, next to the best that is possible
    Bench(BenchArgs),
    #[command(hide = true)]
    BenchClient(BenchClientArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page: of the program, a command, the configuration, or handlers
    Man {
        /// A command, kcov-broker.toml, or kcov-handler [default: the program]
        command: Option<String>,
        /// Write all pages to this directory instead
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
            // --help and --version also come here, and are not failures.
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
        Command::Metrics(args) => metrics::run(args),
        Command::Status(args) => status::run(&args),
        Command::Cargo(args) => cargo::run(&args),
        Command::Symbolize(args) => symbolize::run(&args),
        Command::Artifacts(args) => artifacts::run(&args),
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
            // The reader of the output closed it, as head(1) does.
            return ExitCode::SUCCESS;
        }
        print_message(format_args!("{error:#}"));
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
