//! The result of reading a configuration: its values and its errors. It becomes a [`Config`] if there are no
//! errors.

use super::errors::{ConfigError, ConfigErrors, Diagnostics};
use super::probe;
use super::section::{Found, Section};
use super::service::{ServeConfig, ServePlaces};
use super::settings::{Config, MAX_TENANTS};
use super::source::Source;
use super::tenant::TenantConfig;
use std::collections::{BTreeMap, BTreeSet};
use toml::de::{DeTable, DeValue};

/// The values and errors of a text.
#[derive(Debug)]
pub struct Draft {
    config: Config,
    /// Where the keys of `[serve]` are.
    places: ServePlaces,
    errors: BTreeSet<ConfigError>,
}

impl Draft {
    /// Reads a text. A line that is not TOML is reported and skipped. Only a bracket or quote without its end
    /// makes the rest of the file unreadable.
    #[must_use]
    pub fn read(text: &str, source: &Source) -> Self {
        let diagnostics = Diagnostics::new(text, &source.name);
        let (document, faults) = DeTable::parse_recoverable(text);
        if let Some(first) = faults.first().filter(|_| faults.iter().any(is_unclosed)) {
            let message = format!("{}: it is opened here or above, and never closed", first.message());
            diagnostics.add_fault(first.span().unwrap_or_default(), &message);
            let (config, places) = (Config::default(), ServePlaces::new(None, source));
            return Draft { config, places, errors: diagnostics.into_errors() };
        }
        for fault in faults.iter().take_while(|_| !diagnostics.is_full()) {
            diagnostics.add_fault(fault.span().unwrap_or_default(), fault.message());
        }
        let (config, places) = read(document.get_ref(), source, &diagnostics);
        Draft { config, places, errors: diagnostics.into_errors() }
    }

    /// The configuration.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every error in the text.
    pub fn checked(self) -> Result<Config, ConfigErrors> {
        let Draft { config, places: _, errors } = self;
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors.into_iter().collect())) }
    }

    /// Likely mistakes that are not errors. They depend on this machine, and a service may see another file
    /// system.
    #[must_use]
    pub fn warnings(&self) -> BTreeSet<ConfigError> {
        let tenants = &self.config.tenants;
        let folders = probe::foreign_folders(&self.config, &self.places);
        let warnings = tenants.iter().flat_map(probe::unreachable).chain(probe::shared_users(tenants));
        warnings.chain(folders).collect()
    }

    /// Like [`checked`](Self::checked), and also checks the values against this machine.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every error of both checks.
    pub fn probed(mut self) -> Result<Config, ConfigErrors> {
        self.errors.extend(probe::config(&self.config, &self.places));
        self.checked()
    }
}

/// Whether the rest of the file was read as a part of a value without an end.
fn is_unclosed(fault: &toml::de::Error) -> bool {
    ["unclosed array,", "unclosed inline table", "invalid multi-line"]
        .iter()
        .any(|start| fault.message().starts_with(start))
}

fn read(document: &DeTable<'_>, source: &Source, diagnostics: &Diagnostics<'_>) -> (Config, ServePlaces) {
    let root = Section::new("", document, diagnostics);
    let section = root.section("serve");
    let serve =
        section.as_ref().map_or_else(ServeConfig::default, |section| ServeConfig::read(section, source));
    let defaults = root.section("defaults");
    if let Some(section) = &defaults {
        // Otherwise they would only be checked as a part of tenants, of which there may be none.
        TenantConfig::read_defaults(section, source);
    }
    let places = ServePlaces::new(section.as_ref(), source);
    let tenants = tenants(&root, root.table("defaults"), source, diagnostics);
    root.finish();
    (Config { serve, tenants }, places)
}

fn tenants(
    root: &Section<'_>,
    defaults: Option<&DeTable<'_>>,
    source: &Source,
    diagnostics: &Diagnostics<'_>,
) -> Vec<TenantConfig> {
    let Some(Found { span, value, .. }) = root.get("tenant") else { return Vec::new() };
    let DeValue::Array(entries) = value else {
        diagnostics.add(span, "tenant", "each tenant is a section `[[tenant]]`, with double brackets");
        return Vec::new();
    };
    if entries.len() > MAX_TENANTS {
        diagnostics.add(
            span,
            "tenant",
            &format!("{} tenants are too many: the maximum is {MAX_TENANTS}", entries.len()),
        );
        return Vec::new();
    }
    let mut tenants = Vec::new();
    for entry in entries.iter() {
        let DeValue::Table(table) = entry.get_ref() else {
            diagnostics.add(entry.span(), "tenant", "a tenant is a section `[[tenant]]` with keys");
            continue;
        };
        let defaults = defaults.map(|table| ("defaults".to_owned(), table));
        let section = Section::new("tenant", table, diagnostics).with_defaults(defaults);
        tenants.push(TenantConfig::read(&section, entry.span(), source));
    }
    refuse_duplicates(&tenants, diagnostics);
    tenants
}

/// Operators refer to tenants by name, so each name must be unique.
fn refuse_duplicates(tenants: &[TenantConfig], diagnostics: &Diagnostics<'_>) {
    let mut first = BTreeMap::new();
    for tenant in tenants.iter().filter(|tenant| !tenant.name.is_empty()) {
        let place = tenant.place("name");
        if let Some(line) = first.get(&tenant.name) {
            let message = format!("line {line} already has a tenant {}: choose another name", tenant.name);
            diagnostics.add_at(place, &message);
        } else {
            first.insert(&tenant.name, place.line);
        }
    }
}
