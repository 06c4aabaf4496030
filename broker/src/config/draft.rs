//! A text as it was read: what could be made of it, and all that is wrong. It becomes a [`Config`] only if nothing is.

use super::errors::{ConfigError, Report};
use super::section::{Found, Section};
use super::service::ServePlaces;
use super::{Config, ConfigErrors, MAX_TENANTS, ServeConfig, Source, TenantConfig, probe};
use std::collections::{BTreeMap, BTreeSet};
use toml::de::{DeTable, DeValue};

/// See the module.
#[derive(Debug)]
pub struct Draft {
    config: Config,
    /// Where what concerns all tenants stands.
    places: ServePlaces,
    errors: BTreeSet<ConfigError>,
}

impl Draft {
    /// Reads a text. A line that is no TOML costs what it says, and no more: the others are read as they stand. Only what
    /// is opened and not closed again makes the rest of the file unreadable.
    #[must_use]
    pub fn read(text: &str, source: &Source) -> Self {
        let report = Report::new(text, &source.name);
        let (document, faults) = DeTable::parse_recoverable(text);
        if let Some(first) = faults.first().filter(|_| faults.iter().any(is_open)) {
            let message = format!("{}: what is opened here or above has no end", first.message());
            report.add_fault(first.span().unwrap_or_default(), &message);
            let (config, places) = (Config::default(), ServePlaces::new(None, source));
            return Draft { config, places, errors: report.into_errors() };
        }
        for fault in faults.iter().take_while(|_| !report.is_full()) {
            report.add_fault(fault.span().unwrap_or_default(), fault.message());
        }
        let (config, places) = read(document.get_ref(), source, &report);
        Draft { config, places, errors: report.into_errors() }
    }

    /// The configuration, if the text is one.
    ///
    /// # Errors
    /// [`ConfigErrors`] with all that is wrong.
    pub fn checked(self) -> Result<Config, ConfigErrors> {
        let Draft { config, places: _, errors } = self;
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors.into_iter().collect())) }
    }

    /// What is no error, and may well be meant otherwise, on this machine: a service may see another one.
    #[must_use]
    pub fn doubts(&self) -> BTreeSet<ConfigError> {
        let tenants = &self.config.tenants;
        tenants.iter().flat_map(probe::doubts).chain(probe::shared_users(tenants)).collect()
    }

    /// As [`checked`](Self::checked), held against this machine besides.
    ///
    /// # Errors
    /// [`ConfigErrors`] with all that is wrong, with the text and with the machine.
    pub fn probed(mut self) -> Result<Config, ConfigErrors> {
        self.errors.extend(probe::config(&self.config, &self.places));
        self.checked()
    }
}

/// Whether what follows was read as a part of something that has no end.
fn is_open(fault: &toml::de::Error) -> bool {
    ["unclosed array,", "unclosed inline table", "invalid multi-line"]
        .iter()
        .any(|start| fault.message().starts_with(start))
}

fn read(document: &DeTable<'_>, source: &Source, report: &Report<'_>) -> (Config, ServePlaces) {
    let root = Section::new("", document, report);
    let section = root.section("serve");
    let serve =
        section.as_ref().map_or_else(ServeConfig::default, |section| ServeConfig::read(section, source));
    let defaults = root.section("defaults");
    if let Some(section) = &defaults {
        // Without a tenant they would be looked at by nobody.
        TenantConfig::read_defaults(section, source);
    }
    let places = ServePlaces::new(section.as_ref(), source);
    let tenants = tenants(&root, root.table("defaults"), source, report);
    root.finish();
    (Config { serve, tenants }, places)
}

fn tenants(
    root: &Section<'_>,
    defaults: Option<&DeTable<'_>>,
    source: &Source,
    report: &Report<'_>,
) -> Vec<TenantConfig> {
    let Some(Found { span, value, .. }) = root.get("tenant") else { return Vec::new() };
    let DeValue::Array(entries) = value else {
        report.add(span, "tenant", "each tenant is a section `[[tenant]]`, with two brackets");
        return Vec::new();
    };
    if entries.len() > MAX_TENANTS {
        report.add(span, "tenant", &format!("{} tenants are too many: at most {MAX_TENANTS}", entries.len()));
        return Vec::new();
    }
    let mut tenants = Vec::new();
    for entry in entries.iter() {
        let DeValue::Table(table) = entry.get_ref() else {
            report.add(entry.span(), "tenant", "a tenant is a section `[[tenant]]` with keys");
            continue;
        };
        let defaults = defaults.map(|table| ("defaults".to_owned(), table));
        let section = Section::new("tenant", table, report).with_defaults(defaults);
        tenants.push(TenantConfig::read(&section, entry.span(), source));
    }
    refuse_doubles(&tenants, report);
    tenants
}

/// Names are what an operator calls tenants by.
fn refuse_doubles(tenants: &[TenantConfig], report: &Report<'_>) {
    let mut first = BTreeMap::new();
    for tenant in tenants.iter().filter(|tenant| !tenant.name.is_empty()) {
        let place = tenant.place("name");
        if let Some(line) = first.get(&tenant.name) {
            let message =
                format!("the tenant {} is in line {line} already: give it another name", tenant.name);
            report.add_at(place, &message);
        } else {
            first.insert(&tenant.name, place.line);
        }
    }
}
