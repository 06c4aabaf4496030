//! `kcov-broker serve`: many tenants, as a service.
//!
//! # Processes
//! The **manager** replaces the front of `run`: it forks a broker for each tenant and exchanges the same
//! messages with it. A broker serves one tenant, as with `run`, and has its own spawner, tender, zygote,
//! readers and workers.
//!
//! Each tenant is therefore a fault domain. Its listener, registry, areas and sockets are in no process that
//! serves another tenant; a broker that dies only takes its own tenant with it; and tenants use all
//! processors, because no thread serves two of them. The price is a process of a few MiB per tenant, most of
//! it shared.
//!
//! # The manager
//! It has one thread and one blocking point. It only starts brokers and, if configured, the process that
//! exports metrics ([`metrics_process`]). Work that may block, for example on a file system that does not
//! respond, is done by the tenant's own broker. Requests and replies of operators are bounded datagrams, and
//! clients that do not read are disconnected. The state machine in [`life`], which makes no system call,
//! decides when a tenant is started and ended.
//!
//! The manager is a subreaper: it inherits a spawner whose broker was killed. A tenant counts as gone when
//! both have exited, so that a new run never overlaps with the last one. If the manager is killed, each
//! broker sees the end of its socket and ends its tenant.
//!
//! # A tenant that cannot run
//! Only this tenant fails. Its broker finds out what is wrong with it on this machine, for example a missing
//! library or user, as seen from the sandbox of the service. Only a configuration with errors keeps the
//! service from starting.
//!
//! # Signals
//! | signal | effect |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | sends every tenant its stop signal, kills it after its grace period, and exits within `shutdown`; a second signal kills at once |
//! | `SIGHUP` | reloads the configuration: starts new tenants, stops removed ones, restarts changed ones |

pub mod clients;
pub mod control;
pub mod life;
pub mod link;
pub mod manager;
pub mod metrics_process;
pub mod notify;
pub mod watch;

#[cfg(test)]
mod tests;

use crate::config::{Config, ConfigErrors, Source, text};
use crate::logs::{self, LogFormat};
use crate::service::control::socket::{self, ControlSocket};
use anyhow::Context;
use manager::Manager;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing::{error, info};

/// Options of `kcov-broker serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 after a signal, 78 if the configuration has errors, 125 if it fails otherwise."
)]
pub struct ServeArgs {
    /// The configuration. Without one, tenants can only be added with `kcov-broker tenant add`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The control socket, in a directory with mode 0700 [default: as configured, else
    /// /run/kcov-broker/control, or $XDG_RUNTIME_DIR/kcov-broker/control for an ordinary user]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Format of the log on standard error [default: as configured, else text]
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,

    /// Log more about tenants: -v for events of their devices, -vv for events of their processes
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Exit status if the configuration has errors: a restart does not help until they are fixed (`EX_CONFIG`,
/// `sysexits.h`).
const CONFIGURATION_ERROR: u8 = 78;

/// Reads a configuration without checking it against the machine: a tenant that cannot run must not keep
/// others from running.
fn configuration(path: &Path) -> Result<Config, ConfigErrors> {
    Config::parse(&text::read(path)?, &Source::file(path))
}

/// Runs the service until a signal ends it.
///
/// # Errors
/// If another service is running, or this machine lacks a required feature.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    crate::sys::filter::check_kernel()?;
    let config = match args.config.as_deref().map_or_else(|| Ok(Config::default()), configuration) {
        Ok(config) => config,
        Err(errors) => {
            logs::print_line(format_args!(
                "{errors}\nkcov-broker: the configuration has errors; nothing was started"
            ));
            return Ok(ExitCode::from(CONFIGURATION_ERROR));
        }
    };
    logs::start_service(args.log_format.unwrap_or(config.serve.log_format), args.verbose);
    // No process of a service may read from a terminal.
    let null = File::open("/dev/null").context("cannot open /dev/null")?;
    nix::unistd::dup2_stdin(&null).context("cannot replace standard input")?;
    let path = args.socket.clone().or_else(|| config.serve.socket.clone());
    let path = path.map_or_else(socket::default_path, Ok)?;
    let control = ControlSocket::listen(&path)?;
    let (tenants, socket) = (config.tenants.len(), path.display().to_string());
    let manager = Manager::new(config, args.config.clone(), control)?;
    info!(event = "service_start", tenants, socket, "the service has started");
    let result = manager.run();
    match &result {
        Ok(()) => info!(event = "service_end", "the service has ended"),
        Err(error) => error!(event = "service_end", reason = format!("{error:#}"), "the service has failed"),
    }
    result.map(|()| ExitCode::SUCCESS)
}
