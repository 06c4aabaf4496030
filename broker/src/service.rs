//! `kcov-broker serve`: many tenants, as a service.
//!
//! # Processes
//! The **manager** is to each tenant what the front is to the command of a terminal: it forks a broker for it, and talks
//! to that broker over the same socket. A broker serves one tenant, as with `run`, and has a spawner, tender, zygote,
//! reader and workers of its own.
//!
//! So one tenant is one fault domain: nothing of it (listener, registry, areas, sockets) is in a process that hears from
//! another tenant, a broker that dies takes its own tenant along and no other, and tenants use all processors, since no
//! thread serves two of them. The price is a process of a few MiB a tenant, most of it shared.
//!
//! # The manager
//! It has one thread and one blocking point, and starts nothing but brokers and, if that is configured, the process that
//! tells their counters to Prometheus ([`exporting`]). What may take time, as a file system that
//! does not answer, happens in a tenant's own broker; requests and replies of operators are bounded datagrams, and a
//! client that does not read is let go. What becomes of a tenant is decided by [`life`], a state machine without a system
//! call.
//!
//! It is a subreaper: a spawner whose broker was killed comes to it, and a tenant counts as gone when both are, so that a
//! new run never meets the last one. If the manager is killed, each broker sees the end of its socket and ends its
//! tenant.
//!
//! # A tenant that cannot run
//! It fails by itself: what is wrong with it on this machine, a library that is not there or a user, its own broker finds
//! out and tells, as the service's sandbox shows it. Only a text that is no configuration keeps the service from
//! starting, as nobody knows what it means.
//!
//! # Signals
//! | signal | effect |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | every tenant gets its stop signal, is killed after its grace, and all is over within `shutdown`; a second one does not wait |
//! | `SIGHUP` | the configuration is read again: tenants are added, stopped and restarted as it has changed |

pub mod clients;
pub mod control;
pub mod exporting;
pub mod life;
pub mod link;
pub mod manager;
pub mod notify;
pub mod uids;
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
    after_help = "Exit status: 0 after a signal, 78 if the configuration is wrong, 125 if it fails otherwise."
)]
pub struct ServeArgs {
    /// The configuration; without one, tenants come by `kcov-broker tenant add` alone
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The control socket, in a directory of mode 0700 [default: as configured, else /run/kcov-broker/control, or
    /// $XDG_RUNTIME_DIR/kcov-broker/control for an ordinary user]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Form of the log on standard error [default: as configured, else text]
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,

    /// Log more of what happens within tenants: -v what their devices do, -vv what their processes do
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Exit status if the configuration is wrong: another start is of no use before it is mended (`EX_CONFIG`, `sysexits.h`).
const WRONG_CONFIGURATION: u8 = 78;

/// The configuration that a file is. The machine is not asked: a tenant that cannot run on it fails by itself, and the
/// others run.
fn configuration(path: &Path) -> Result<Config, ConfigErrors> {
    Config::parse(&text::read(path)?, &Source::file(path))
}

/// Serves until a signal ends it. Returns success then.
///
/// # Errors
/// If another one serves already, or something of this machine is missing.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    crate::sys::filter::check_kernel()?;
    let config = match args.config.as_deref().map_or_else(|| Ok(Config::default()), configuration) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}\nkcov-broker: the configuration is wrong, and nothing was started");
            return Ok(ExitCode::from(WRONG_CONFIGURATION));
        }
    };
    logs::start_service(args.log_format.unwrap_or(config.serve.log_format), args.verbose);
    // Nothing of a service reads what somebody types.
    let null = File::open("/dev/null").context("cannot open /dev/null")?;
    nix::unistd::dup2_stdin(&null).context("cannot replace standard input")?;
    let path = args.socket.clone().or_else(|| config.serve.socket.clone());
    let path = path.map_or_else(socket::default_path, Ok)?;
    let control = ControlSocket::listen(&path)?;
    let (tenants, socket) = (config.tenants.len(), path.display().to_string());
    let manager = Manager::new(config, args.config.clone(), control)?;
    info!(event = "service_start", tenants, socket, "the service starts");
    let result = manager.run();
    match &result {
        Ok(()) => info!(event = "service_end", "the service has ended"),
        Err(error) => error!(event = "service_end", reason = format!("{error:#}"), "the service has failed"),
    }
    result.map(|()| ExitCode::SUCCESS)
}
