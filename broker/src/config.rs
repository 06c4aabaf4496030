//! The configuration file of `kcov-broker serve`, in TOML.
//!
//! Three steps, each of which says all that is wrong, and where:
//! - [`Config::parse`] turns text into checked values, without a look at the machine: unknown keys, wrong types, values
//!   out of bounds, names that occur twice. It walks the document itself, because a deserializer stops at the first
//!   error, and an operator wants the list;
//! - [`probe`] holds the values against the machine: files, users, groups;
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
pub mod errors;
pub mod launch;
pub mod probe;
pub mod section;
pub mod service;
pub mod tenant;
pub mod values;

#[cfg(test)]
mod tests;

use errors::{ConfigError, Report};
use section::Section;
pub use service::ServeConfig;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
pub use tenant::TenantConfig;
use toml::de::{DeTable, DeValue};

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
        let report = Report::new(text, &source.name);
        let (document, faults) = DeTable::parse_recoverable(text);
        for fault in faults {
            report.add(fault.span().unwrap_or_default(), "", fault.message());
        }
        // What follows a broken line is not what was meant: further errors would mislead.
        report.result(())?;
        let config = read(document.get_ref(), source, &report);
        report.result(config)
    }
}

fn read(document: &DeTable<'_>, source: &Source, report: &Report<'_>) -> Config {
    let root = Section::new("", document, None, report);
    let serve = root.table("serve").map_or_else(ServeConfig::default, |table| {
        ServeConfig::read(&Section::new("serve", table, None, report), source)
    });
    let defaults = root.table("defaults");
    if let Some(table) = defaults {
        // Without a tenant they would be looked at by nobody.
        TenantConfig::read_defaults(&Section::new("defaults", table, None, report), source);
    }
    let tenants = tenants(&root, defaults, source, report);
    root.finish();
    Config { serve, tenants }
}

fn tenants(
    root: &Section<'_>,
    defaults: Option<&DeTable<'_>>,
    source: &Source,
    report: &Report<'_>,
) -> Vec<TenantConfig> {
    let Some((span, value)) = root.get("tenant") else { return Vec::new() };
    let DeValue::Array(entries) = value else {
        report.add(span, "tenant", "each tenant is a section `[[tenant]]`, with two brackets");
        return Vec::new();
    };
    if entries.len() > MAX_TENANTS {
        report.add(span, "tenant", &format!("{} tenants are too many: at most {MAX_TENANTS}", entries.len()));
        return Vec::new();
    }
    let mut first = BTreeMap::new();
    let mut tenants = Vec::new();
    for entry in entries.iter() {
        let DeValue::Table(table) = entry.get_ref() else {
            report.add(entry.span(), "tenant", "a tenant is a section `[[tenant]]` with keys");
            continue;
        };
        let section = Section::new("tenant", table, defaults, report);
        let Some(tenant) = TenantConfig::read(&section, entry.span(), source) else { continue };
        if let Some(line) = first.insert(tenant.name.clone(), tenant.place("name").line) {
            let message =
                format!("the tenant {} is in line {line} already: give it another name", tenant.name);
            report.add_at(tenant.place("name"), &message);
            continue;
        }
        tenants.push(tenant);
    }
    tenants
}
