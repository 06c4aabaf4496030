//! `[[tenant]]`: one command and how a service runs it.

use super::errors::Place;
use super::options::TenantOptions;
use super::section::Section;
use super::source::Source;
use super::values;
use crate::launch::publication::Audience;
use crate::launch::quotas::Quotas;
use crate::launch::service::Output;
use crate::launch::trace_set::{TraceSet, TraceSetError};
use crate::launch::{Extension, KcovRules, OnBrokerDeath};
use kcov_proto::quota::ROWS;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

const AUDIENCES: [(&str, Audience); 3] =
    [("all", Audience::All), ("own", Audience::Own), ("none", Audience::None)];
const ON_BROKER_DEATH: [(&str, OnBrokerDeath); 2] =
    [("stop", OnBrokerDeath::Stop), ("enosys", OnBrokerDeath::Enosys)];
const KCOV_RULES: [(&str, KcovRules); 2] = [("6.12", KcovRules::V6_12), ("7.2", KcovRules::V7_2)];
const RESTART: [(&str, RestartWhen); 3] =
    [("never", RestartWhen::Never), ("on-failure", RestartWhen::OnFailure), ("always", RestartWhen::Always)];

/// When a tenant that ended is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartWhen {
    /// Never.
    Never,
    /// If a signal killed it, it exited with a status other than 0, or it could not be served any longer.
    #[default]
    OnFailure,
    /// Always.
    Always,
}

/// When and how often a tenant is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// After which ends.
    pub when: RestartWhen,
    /// Delay of the first restart. It doubles after each short run.
    pub delay: Duration,
    /// Maximum number of restarts without a long run between them.
    pub most: Option<u32>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { when: RestartWhen::default(), delay: Duration::from_secs(1), most: None }
    }
}

/// A checked tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantConfig {
    /// Its name.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// What `kcov-broker run` has options for, too.
    pub options: TenantOptions,
    /// User of the command; by default, the user of the service.
    pub user: Option<String>,
    /// Its group; by default, the user's own.
    pub group: Option<String>,
    /// Its supplementary groups; by default, those of the user.
    pub groups: Option<Vec<String>>,
    /// Variables that its environment sets.
    pub environment: BTreeMap<String, String>,
    /// Variables that its environment inherits from the service.
    pub inherit: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// When it is restarted.
    pub restart: RestartPolicy,
    /// Where its output goes.
    pub output: Output,
    /// Signal that asks it to end.
    pub stop_signal: Signal,
    /// Time between that signal and SIGKILL.
    pub stop_grace: Duration,
    /// Where its keys are in the file, for messages.
    places: BTreeMap<&'static str, Place>,
}

/// Keys whose values are also checked against the machine.
const PLACED: [&str; 13] = [
    "name",
    "command",
    "user",
    "group",
    "groups",
    "directory",
    "handlers",
    "worker",
    "artifacts",
    "report",
    "output",
    "map-root",
    "cgroup",
];

impl TenantConfig {
    /// Reads the tenant in `section`. A value that is wrong is reported, and replaced by its default.
    pub(super) fn read(section: &Section<'_>, span: Range<usize>, source: &Source) -> Self {
        for (key, example) in [("name", "name = \"fuzz-0\""), ("command", "command = [\"/usr/bin/program\"]")]
        {
            if !section.has(key) {
                let message = format!("is missing: {example}");
                section.diagnostics().add_missing(section.place(key, &span), &message);
            }
        }
        let name = section.read_or("name", String::new(), values::name);
        let command = section.read_or("command", Vec::new(), values::command);
        let places = PLACED.into_iter().map(|key| (key, section.place(key, &span))).collect();
        let tenant = TenantConfig { name, command, places, ..TenantConfig::common(section, source) };
        section.finish();
        tenant.check_pairs(section);
        tenant
    }

    /// Checks the keys of `[defaults]`.
    pub(super) fn read_defaults(section: &Section<'_>, source: &Source) {
        TenantConfig::common(section, source);
        section.finish();
    }

    /// Reads the keys that `[[tenant]]` and `[defaults]` have in common: all but name and command.
    fn common(section: &Section<'_>, source: &Source) -> Self {
        TenantConfig {
            name: String::new(),
            command: Vec::new(),
            options: options(section, source),
            user: section.read("user", values::filled),
            group: section.read("group", values::filled),
            groups: section.read("groups", values::strings),
            environment: section.read_or("environment", BTreeMap::new(), values::variables),
            inherit: section.read_or("inherit-environment", Vec::new(), values::strings),
            directory: section.read_or("directory", "/".into(), values::path(&source.directory)),
            restart: restart(section),
            output: section.read_or("output", Output::Inherit, |value| output(value, source)),
            stop_signal: section.read_or("stop-signal", Signal::SIGTERM, signal),
            stop_grace: section.read_or("stop-grace", Duration::from_secs(10), values::time),
            places: BTreeMap::new(),
        }
    }

    /// Checks values that depend on each other.
    fn check_pairs(&self, section: &Section<'_>) {
        let diagnostics = section.diagnostics();
        for key in ["group", "groups"].into_iter().filter(|key| section.has(key) && !section.has("user")) {
            diagnostics.add_missing(self.place(key), "sets groups without a user: set `user` as well");
        }
        let Quotas { area, total, .. } = self.options.quotas;
        if let Some(quotas) = section.section("quotas").filter(|quotas| quotas.has("area") && area > total) {
            let message =
                format!("one area of {area} bytes is larger than `total`, {total} bytes for all areas");
            diagnostics.add_at(quotas.place("area", &(0..0)), &message);
        }
    }

    /// Where `key` is, or where the tenant is if it does not have the key.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.places.get(key).cloned().unwrap_or_default()
    }

    /// Whether `other` runs the same way, wherever it is in a file.
    #[must_use]
    pub fn is_same(&self, other: &TenantConfig) -> bool {
        let unplaced = |tenant: &TenantConfig| TenantConfig { places: BTreeMap::new(), ..tenant.clone() };
        unplaced(self) == unplaced(other)
    }
}

fn options(section: &Section<'_>, source: &Source) -> TenantOptions {
    let default = TenantOptions::default();
    let path = values::path(&source.directory);
    TenantOptions {
        trace: section.read_or("trace", default.trace, trace),
        deadline: section.read_or("deadline", default.deadline, values::time),
        kcov_rules: section.read_or("kcov-rules", default.kcov_rules, values::one_of(KCOV_RULES)),
        extensions: section.read_or("extensions", default.extensions, extensions),
        quotas: quotas(section),
        worker_memory: section.read_or("worker-memory", default.worker_memory, values::bytes),
        cgroup: section.read("cgroup", |value| values::string(value)?.parse()),
        on_broker_death: section.read_or(
            "on-broker-death",
            default.on_broker_death,
            values::one_of(ON_BROKER_DEATH),
        ),
        worker: section.read("worker", &path),
        handlers: section.read_or("handlers", default.handlers, |value| handlers(value, source)),
        bench_handler: false,
        artifacts: section.read("artifacts", &path),
        kallsyms: section.read_or("kallsyms", default.kallsyms, values::boolean),
        map_root: section.read_or("map-root", default.map_root, values::boolean),
        publish: section.read_or("publish", default.publish, values::one_of(AUDIENCES)),
        report: section.read("report", &path),
    }
}

fn trace(value: &DeValue<'_>) -> Result<TraceSet, String> {
    let text = match value {
        DeValue::Array(_) => values::strings(value)?.join(","),
        _ => values::string(value)?,
    };
    text.parse().map_err(|error: TraceSetError| error.to_string())
}

/// `LIBRARY[:CONFIG]`, with the full path of the library.
fn handlers(value: &DeValue<'_>, source: &Source) -> Result<Vec<OsString>, String> {
    let full = |handler: String| {
        let (library, config) = handler.split_at(handler.find(':').unwrap_or(handler.len()));
        if library.is_empty() {
            return Err(format!("\"{handler}\" names no library: write \"LIBRARY\" or \"LIBRARY:CONFIG\""));
        }
        let mut full = values::full(&source.directory, library).into_os_string();
        full.push(config);
        Ok(full)
    };
    values::strings(value)?.into_iter().map(full).collect()
}

fn extensions(value: &DeValue<'_>) -> Result<Vec<Extension>, String> {
    let extension = |name: String| match &*name {
        "none" => Ok(Extension::None),
        "reset" => Ok(Extension::Reset),
        "unique" => Ok(Extension::Unique),
        "reset-by-any" => Ok(Extension::ResetByAny),
        "shared" => Ok(Extension::Shared),
        _ => Err(format!(
            "\"{name}\" is not one of \"none\", \"reset\", \"unique\", \"reset-by-any\", \"shared\"; [] disables all"
        )),
    };
    values::strings(value)?.into_iter().map(extension).collect()
}

fn restart(section: &Section<'_>) -> RestartPolicy {
    let default = RestartPolicy::default();
    RestartPolicy {
        when: section.read_or("restart", default.when, values::one_of(RESTART)),
        delay: section.read_or("restart-delay", default.delay, values::time),
        most: section.read("restart-max", values::count).map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
    }
}

fn quotas(section: &Section<'_>) -> Quotas {
    let mut quotas = Quotas::default();
    if let Some(section) = section.section("quotas") {
        for row in &ROWS {
            if let Some(number) = section.read(row.key, values::quota(row.unit)) {
                (row.set)(&mut quotas, number);
            }
        }
        section.finish();
    }
    quotas
}

fn output(value: &DeValue<'_>, source: &Source) -> Result<Output, String> {
    Ok(match &*values::filled(value)? {
        "inherit" => Output::Inherit,
        "null" => Output::Null,
        path if path.contains('/') => Output::File(values::full(&source.directory, path)),
        other => {
            return Err(format!("\"{other}\" is not \"inherit\", \"null\" or a path (\"./{other}\")"));
        }
    })
}

fn signal(value: &DeValue<'_>) -> Result<Signal, String> {
    let text = values::string(value)?;
    text.parse().map_err(|_| format!("\"{text}\" is not a signal: write \"SIGTERM\", \"SIGINT\", ..."))
}
