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
//! It has one thread and one blocking point, and starts nothing but brokers. What may take time, as a file system that
//! does not answer, happens in a tenant's own broker; requests and replies of operators are bounded datagrams, and a
//! client that does not read is let go. What becomes of a tenant is decided by [`life`], a state machine without a system
//! call.
//!
//! It is a subreaper: a spawner whose broker was killed comes to it, and a tenant counts as gone when both are, so that a
//! new run never meets the last one. If the manager is killed, each broker sees the end of its socket and ends its
//! tenant.
//!
//! # Signals
//! | signal | effect |
//! |---|---|
//! | `SIGTERM`, `SIGINT` | every tenant gets its stop signal, is killed after its grace, and all is over within `shutdown`; a second one does not wait |
//! | `SIGHUP` | the configuration is read again: tenants are added, stopped and restarted as it has changed |

pub mod clients;
pub mod life;
pub mod link;
pub mod manager;
pub mod notify;
pub mod uids;
pub mod watch;

#[cfg(test)]
mod tests;

use crate::config::{Config, Source, check, probe};
use crate::control::socket::{self, ControlSocket};
use crate::logs::{self, LogFormat};
use anyhow::Context;
use manager::Manager;
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

/// Options of `kcov-broker serve`.
#[derive(Debug, clap::Args)]
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

/// Serves until a signal ends it. Returns success then.
///
/// # Errors
/// If the configuration is wrong, another one serves already, or something of this machine is missing.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    crate::sys::filter::check_kernel()?;
    let config = args.config.as_deref().map_or_else(
        || Ok(Config::default()),
        |path| -> anyhow::Result<_> {
            let config = Config::parse(&check::read(path)?, &Source::file(path))?;
            probe::config(&config)?;
            Ok(config)
        },
    )?;
    logs::start_service(args.log_format.unwrap_or(config.serve.log_format), args.verbose);
    // Nothing of a service reads what somebody types.
    let null = File::open("/dev/null").context("cannot open /dev/null")?;
    nix::unistd::dup2_stdin(&null).context("cannot replace standard input")?;
    let path = args.socket.clone().or_else(|| config.serve.socket.clone());
    let control = ControlSocket::listen(&path.map_or_else(socket::default_path, Ok)?)?;
    Manager::new(config, args.config.clone(), control)?.run()?;
    Ok(ExitCode::SUCCESS)
}
