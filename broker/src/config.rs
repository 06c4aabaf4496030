//! The configuration file of `kcov-broker serve`, in TOML.
//!
//! Three steps:
//! - a [`Draft`] is what could be read of a text, without a look at the machine, and all that is wrong with it: unknown
//!   keys, wrong types, values out of bounds, names that occur twice. It walks the document itself, because a
//!   deserializer stops at the first error, and an operator wants the list. A draft without errors is a [`Config`];
//! - [`probe`] holds a draft against the machine: files, users, groups. An operator who asks (`kcov-broker check`,
//!   `kcov-broker tenant add`) hears both at once. A service that starts does not ask: a tenant that this machine cannot
//!   run is no reason to keep the others from running;
//! - [`launch`] makes of one tenant what a broker is started with, in that broker's own process: a file system that does
//!   not answer holds up its own tenant and nobody else.
//!
//! ```toml
//! [serve]                       # all of it may be left out
//! socket = "/run/kcov-broker/control"
//!
//! [defaults]                    # any key of a tenant but its name and command
//! trace = "syzkaller"
//!
//! [[tenant]]
//! name = "fuzz-0"
//! command = ["/usr/bin/syz-executor", "runner", "0", "localhost", "4242"]
//! ```

pub mod check;
pub mod draft;
pub mod errors;
pub mod keys;
pub mod launch;
pub mod probe;
pub mod section;
pub mod service;
pub mod tenant;
pub mod text;
pub mod values;

#[cfg(test)]
mod tests;

pub use draft::Draft;
use errors::ConfigError;
pub use service::ServeConfig;
use std::path::{Path, PathBuf};
pub use tenant::TenantConfig;

/// Most bytes of a configuration file.
pub const MAX_FILE: u64 = 1 << 20;
/// Most tenants at a time: each is half a dozen processes and as many sockets of the one that starts them.
pub const MAX_TENANTS: usize = 4096;

/// A checked configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What concerns all tenants.
    pub serve: ServeConfig,
    /// The tenants, in the order of the file.
    pub tenants: Vec<TenantConfig>,
}

/// Where a text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name for messages.
    pub name: String,
    /// Directory that relative paths start from.
    pub directory: PathBuf,
}

impl Source {
    /// The file at `path`, which relative paths start beside.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let directory = full.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        Source { name: path.display().to_string(), directory }
    }
}

/// A text that is no configuration: all that is wrong with it, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", errors::listed(.0))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl Config {
    /// The configuration that `text` is.
    ///
    /// # Errors
    /// [`ConfigErrors`] with all that is wrong.
    pub fn parse(text: &str, source: &Source) -> Result<Self, ConfigErrors> {
        Draft::read(text, source).checked()
    }
}
