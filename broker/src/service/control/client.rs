//! `kcov-broker tenant`: the client of the control socket.

mod server;

use super::message::{Request, Status};
use super::{socket, table};
use server::Server;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `kcov-broker tenant`.
#[derive(Debug, clap::Args)]
pub struct TenantArgs {
    /// The control socket [default: /run/kcov-broker/control, or $XDG_RUNTIME_DIR/kcov-broker/control for an
    /// ordinary user]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the tenants
    List {
        /// Print a JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show all details of a tenant
    Status {
        /// Name of the tenant
        name: String,
        /// Print a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Add the tenants of a configuration and wait until they run
    Add {
        /// A configuration as for serve, but without [serve]; - or --stdin is standard input
        #[arg(value_name = "FILE|--stdin", required_unless_present = "stdin")]
        file: Option<PathBuf>,
        /// Read the configuration from standard input
        #[arg(long, conflicts_with = "file")]
        stdin: bool,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// End a tenant and wait until it has ended. A tenant that was added at run time is also removed
    Stop {
        /// Name of the tenant
        name: String,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
    /// Restart a tenant and wait until it runs. A tenant that does not run is started
    Restart {
        /// Name of the tenant
        name: String,
        /// Do not wait
        #[arg(long)]
        no_wait: bool,
    },
}

/// Sends a request, and waits for its effect unless told not to.
///
/// # Errors
/// If there is no service, or the request is refused or has no effect.
pub fn run(args: TenantArgs) -> anyhow::Result<ExitCode> {
    let path = args.socket.map_or_else(socket::default_path, Ok)?;
    let mut server = Server { channel: socket::connect(&path)?.into() };
    match args.command {
        Command::List { json } => table::list(&server.list()?, json)?,
        Command::Status { name, json } => table::status(&server.shown(&name)?, json)?,
        Command::Add { file, stdin: _, no_wait } => {
            let names = server.add(file.as_deref().unwrap_or(Path::new("-")))?;
            if !no_wait {
                server.wait_all_running(&names)?;
            }
        }
        Command::Stop { name, no_wait } => {
            server.order(&Request::Stop { name: name.clone() })?;
            if !no_wait {
                server.wait_stopped(&name)?;
            }
        }
        Command::Restart { name, no_wait } => {
            let starts = server.order(&Request::Restart { name: name.clone() })?;
            if !no_wait {
                server.wait_running(&name, starts)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The tenants of the service with this control socket.
///
/// # Errors
/// If there is no service, or this user may not control it.
pub fn tenants(socket: &Path) -> anyhow::Result<Vec<Status>> {
    Server { channel: socket::connect(socket)?.into() }.list()
}
