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
mod settings;
mod source;
pub mod tenant;
pub mod text;
pub mod values;

#[cfg(test)]
mod tests;

pub use draft::Draft;
pub use errors::ConfigErrors;
pub use service::ServeConfig;
pub use settings::{Config, MAX_TENANTS};
pub use source::Source;
pub use tenant::TenantConfig;

impl Config {
    /// Parses a configuration.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every error in the text.
    pub fn parse(text: &str, source: &Source) -> Result<Self, ConfigErrors> {
        Draft::read(text, source).checked()
    }
}
