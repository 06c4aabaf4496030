//! The configuration file of `kcov-broker serve`, in TOML.
//!
//! There are three steps:
//! - A [`Draft`] is the result of reading a text: the values, and every error in it (unknown keys, wrong
//!   types, values out of bounds, duplicate names). It walks the document itself, because a deserializer
//!   stops at the first error and operators want all of them. A draft without errors is a [`Config`].
//! - [`probe`] checks a draft against the machine: files, users, groups. `kcov-broker check` reports the
//!   errors of both steps. A service does not probe when it starts: a tenant that this machine cannot run
//!   must not keep the others from running.
//! - [`launch`] prepares the start of one tenant, in the process of that tenant's broker, so that a file
//!   system that does not respond delays only its own tenant.
//!
//! [`options`] is shared with `kcov-broker run`, which runs a single tenant from its command line.
//!
//! ```toml
//! [serve]                       # optional
//! socket = "/run/kcov-broker/control"
//!
//! [defaults]                    # any key of a tenant except name and command
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
pub mod options;
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

/// Maximum size of a configuration file, bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// Maximum number of tenants. Each needs half a dozen processes, and as many sockets in the manager.
pub const MAX_TENANTS: usize = 4096;

/// A checked configuration.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Settings of the service as a whole.
    pub serve: ServeConfig,
    /// The tenants, in the order of the file.
    pub tenants: Vec<TenantConfig>,
}

/// The origin of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name in messages.
    pub name: String,
    /// Directory that relative paths start in.
    pub directory: PathBuf,
}

impl Source {
    /// The file at `path`. Relative paths start in its directory.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        let full = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let directory = full.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        Source { name: path.display().to_string(), directory }
    }
}

/// All errors of a configuration, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", errors::listed(.0))]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl Config {
    /// Parses a configuration.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every error in the text.
    pub fn parse(text: &str, source: &Source) -> Result<Self, ConfigErrors> {
        Draft::read(text, source).checked()
    }
}
