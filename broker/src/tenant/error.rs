//! Why a tenant cannot be served, or no longer.

use crate::processes::spawner_client::SpawnError;
use crate::sys::socket::ChannelError;
use nix::errno::Errno;

/// Why a tenant cannot be served, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The spawner failed.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A socket failed.
    #[error("a socket failed: {0}")]
    Channel(#[from] ChannelError),
    /// A system call failed.
    #[error("{what}: {errno}")]
    System {
        /// The call, or what it was for.
        what: &'static str,
        /// The kernel's error.
        errno: Errno,
    },
    /// A handler cannot be used.
    #[error("{0}")]
    Handler(String),
    /// The workers cannot be jailed, and do not run without a jail.
    #[error("the workers cannot be jailed: {0}")]
    Jail(String),
    /// The zygote did not start.
    #[error(
        "the worker program {0} does not start: it {1}; it must be a program that calls kcov_worker::main (man kcov-handler)"
    )]
    Zygote(String, String),
    /// The workers die before they serve.
    #[error("the workers die before they serve: see the log for the signal")]
    Workers,
}

/// Maps the error of a system call.
pub fn system(what: &'static str) -> impl FnOnce(Errno) -> TenantError {
    move |errno| TenantError::System { what, errno }
}
