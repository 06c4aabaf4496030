//! The command line.

use crate::bench::{self, BenchArgs, BenchClientArgs};
use crate::run::{self, RunArgs};
use crate::symbolize::{self, SymbolizeArgs};
use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Gives a command a working KCOV device that user-space handlers feed.
#[derive(Debug, Parser)]
#[command(name = "kcov-broker", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command under the broker
    Run(Box<RunArgs>),
    /// Turn PCs into function, file and line
    Symbolize(SymbolizeArgs),
    /// Measure this machine: each figure beside its limit
    Bench(BenchArgs),
    #[command(hide = true)]
    BenchClient(BenchClientArgs),
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
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
        Command::Symbolize(args) => symbolize::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchClient(args) => bench::client(args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "kcov-broker", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => man(),
    };
    result.unwrap_or_else(|error| {
        eprintln!("kcov-broker: {error:#}");
        ExitCode::from(crate::front::BROKER_FAILED)
    })
}

fn man() -> anyhow::Result<ExitCode> {
    clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
