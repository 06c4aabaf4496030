//! `[[tenant]]`: one command and how it is to run.

use super::errors::Place;
use super::section::Section;
use super::{Source, values};
use crate::launch::cgroup::Parent;
use crate::launch::quotas::Quotas;
use crate::launch::service::Output;
use crate::launch::trace_set::TraceSet;
use crate::launch::{Extensions, OnBrokerDeath};
use crate::live::Audience;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// Most bytes of data that a worker may have, where nothing else is said.
const WORKER_MEMORY: u64 = 1 << 30;

/// Who may see a tenant's counters.
const AUDIENCES: [(&str, Audience); 3] =
    [("all", Audience::All), ("own", Audience::Own), ("none", Audience::None)];

/// When an ended tenant is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartWhen {
    /// Never.
    Never,
    /// If it ended by a signal or with another status than 0, or could not be served any longer.
    #[default]
    OnFailure,
    /// Whatever it ended by.
    Always,
}

/// When and how often a tenant is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    /// When.
    pub when: RestartWhen,
    /// After this time; twice as long each time that it did not run for long.
    pub delay: Duration,
    /// Most restarts without a long run between them.
    pub most: Option<u32>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        RestartPolicy { when: RestartWhen::default(), delay: Duration::from_secs(1), most: None }
    }
}

/// One checked tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantConfig {
    /// Its name.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Who it runs as; who `serve` runs as if not given.
    pub user: Option<String>,
    /// Its group; the user's own if not given.
    pub group: Option<String>,
    /// Its supplementary groups; those that the system has for the user if not given.
    pub groups: Option<Vec<String>>,
    /// Variables of its environment.
    pub environment: BTreeMap<String, String>,
    /// Variables that it gets from the environment of `serve`.
    pub inherit: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
    /// Which calls go to workers.
    pub trace: TraceSet,
    /// Libraries with handlers, as `LIBRARY[:CONFIG]`.
    pub handlers: Vec<String>,
    /// The worker program.
    pub worker: Option<PathBuf>,
    /// Proposals that the device answers.
    pub extensions: Extensions,
    /// Whether it sees a `/proc/kallsyms` of the text that PCs lie in.
    pub kallsyms: bool,
    /// Without root: whether it sees uid and gid 0.
    pub map_root: bool,
    /// Longest that a caller waits.
    pub deadline: Duration,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Bounds.
    pub quotas: Quotas,
    /// What becomes of it if its broker dies.
    pub on_broker_death: OnBrokerDeath,
    /// Most bytes of data that a worker may have.
    pub worker_memory: u64,
    /// Under which control group one for zygote and workers is made, if one is.
    pub cgroup: Option<Parent>,
    /// Where artifacts of crashes go.
    pub artifacts: Option<PathBuf>,
    /// Who may see its counters while it runs.
    pub publish: Audience,
    /// Where counts go at its end.
    pub report: Option<PathBuf>,
    /// Where its output goes.
    pub output: Output,
    /// Signal that asks it to end.
    pub stop_signal: Signal,
    /// How long it may take to end by that; then it is killed.
    pub stop_grace: Duration,
    /// Where its keys stand, for messages.
    places: BTreeMap<&'static str, Place>,
}

/// Keys about which the machine has a say.
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
    /// The tenant that `section` is; what could not be read of it is empty, or as it is by default.
    pub(super) fn read(section: &Section<'_>, span: Range<usize>, source: &Source) -> Self {
        for (key, example) in [("name", "name = \"fuzz-0\""), ("command", "command = [\"/usr/bin/program\"]")]
        {
            if !section.has(key) {
                let message = format!("is missing: {example}");
                section.report().add_missing(section.place(key, &span), &message);
            }
        }
        let name = section.read_or("name", String::new(), values::name);
        let command = section.read_or("command", Vec::new(), values::command);
        let places = PLACED.into_iter().map(|key| (key, section.place(key, &span))).collect();
        let rest = TenantConfig::rest(section, source, places);
        section.finish();
        let tenant = TenantConfig { name, command, ..rest };
        tenant.check_pairs(section);
        tenant
    }

    /// Checks the keys of `[defaults]`.
    pub(super) fn read_defaults(section: &Section<'_>, source: &Source) {
        TenantConfig::rest(section, source, BTreeMap::new());
        section.finish();
    }

    /// All keys but name and command.
    fn rest(section: &Section<'_>, source: &Source, places: BTreeMap<&'static str, Place>) -> Self {
        let directory = &source.directory;
        TenantConfig {
            name: String::new(),
            command: Vec::new(),
            user: section.read("user", values::filled),
            group: section.read("group", values::filled),
            groups: section.read("groups", values::strings),
            environment: section.read_or("environment", BTreeMap::new(), values::variables),
            inherit: section.read_or("inherit-environment", Vec::new(), values::strings),
            directory: section.read_or("directory", "/".into(), values::path(directory)),
            trace: section.read_or("trace", TraceSet::default(), trace),
            handlers: section.read_or("handlers", Vec::new(), |value| handlers(value, source)),
            worker: section.read("worker", values::path(directory)),
            extensions: section.read_or(
                "extensions",
                Extensions { reset: true, reset_by_any: false },
                extensions,
            ),
            kallsyms: section.read_or("kallsyms", false, values::boolean),
            map_root: section.read_or("map-root", false, values::boolean),
            deadline: section.read_or("deadline", Duration::from_secs(5), values::time),
            restart: restart(section),
            quotas: quotas(section),
            on_broker_death: section.read_or("on-broker-death", OnBrokerDeath::Stop, on_broker_death),
            worker_memory: section.read_or("worker-memory", WORKER_MEMORY, values::bytes),
            cgroup: section.read("cgroup", |value| values::string(value)?.parse()),
            artifacts: section.read("artifacts", values::path(directory)),
            publish: section.read_or("publish", Audience::All, values::one_of(AUDIENCES)),
            report: section.read("report", values::path(directory)),
            output: section.read_or("output", Output::Inherit, |value| output(value, source)),
            stop_signal: section.read_or("stop-signal", Signal::SIGTERM, signal),
            stop_grace: section.read_or("stop-grace", Duration::from_secs(10), values::time),
            places,
        }
    }

    /// Checks what keys say about each other.
    fn check_pairs(&self, section: &Section<'_>) {
        let report = section.report();
        for key in ["group", "groups"].into_iter().filter(|key| section.has(key) && !section.has("user")) {
            report.add_missing(self.place(key), "names groups without a user: give `user` as well");
        }
        let Quotas { area, total, .. } = self.quotas;
        if let Some(quotas) = section.section("quotas").filter(|quotas| quotas.has("area") && area > total) {
            let message =
                format!("one area of {area} bytes is above `total`, {total} bytes for all together");
            report.add_at(quotas.place("area", &(0..0)), &message);
        }
    }

    /// Where `key` stands, or the tenant if it does not.
    #[must_use]
    pub fn place(&self, key: &str) -> Place {
        self.places.get(key).cloned().unwrap_or_default()
    }

    /// Whether it runs the same way, wherever it stands in a file.
    #[must_use]
    pub fn is_same(&self, other: &TenantConfig) -> bool {
        let unplaced = |tenant: &TenantConfig| TenantConfig { places: BTreeMap::new(), ..tenant.clone() };
        unplaced(self) == unplaced(other)
    }
}

fn trace(value: &DeValue<'_>) -> Result<TraceSet, String> {
    let text = match value {
        DeValue::Array(_) => values::strings(value)?.join(","),
        _ => values::string(value)?,
    };
    text.parse().map_err(|error: crate::launch::trace_set::TraceSetError| error.to_string())
}

/// `LIBRARY[:CONFIG]`, with the library's path made full.
fn handlers(value: &DeValue<'_>, source: &Source) -> Result<Vec<String>, String> {
    let full = |handler: String| {
        let (library, config) = handler.split_once(':').map_or((&*handler, None), |(l, c)| (l, Some(c)));
        if library.is_empty() {
            return Err(format!("\"{handler}\" names no library: write \"LIBRARY\" or \"LIBRARY:CONFIG\""));
        }
        let library = values::full(&source.directory, library).display().to_string();
        Ok(config.map_or(library.clone(), |config| format!("{library}:{config}")))
    };
    values::strings(value)?.into_iter().map(full).collect()
}

fn extensions(value: &DeValue<'_>) -> Result<Extensions, String> {
    let mut chosen = Extensions::default();
    for name in values::strings(value)? {
        match &*name {
            "reset" => chosen.reset = true,
            "reset-by-any" => chosen = Extensions { reset: true, reset_by_any: true },
            _ => {
                return Err(format!(
                    "\"{name}\" is none of \"reset\", \"reset-by-any\"; [] switches all off"
                ));
            }
        }
    }
    Ok(chosen)
}

fn restart(section: &Section<'_>) -> RestartPolicy {
    let default = RestartPolicy::default();
    let when = [
        ("never", RestartWhen::Never),
        ("on-failure", RestartWhen::OnFailure),
        ("always", RestartWhen::Always),
    ];
    RestartPolicy {
        when: section.read_or("restart", default.when, values::one_of(when)),
        delay: section.read_or("restart-delay", default.delay, values::time),
        most: section
            .read("restart-max", values::count(0))
            .map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
    }
}

fn quotas(section: &Section<'_>) -> Quotas {
    let mut quotas = Quotas::default();
    if let Some(section) = section.section("quotas") {
        quotas.area = section.read_or("area", quotas.area, values::bytes);
        quotas.total = section.read_or("total", quotas.total, values::bytes);
        quotas.instances = number(&section, "instances", quotas.instances);
        quotas.handles = number(&section, "handles", quotas.handles);
        quotas.assist_rate = section.read_or("assist-rate", quotas.assist_rate, values::count(0));
        quotas.assist_bytes = section.read_or("assist-bytes", quotas.assist_bytes, values::bytes);
        quotas.crash_rate = section.read_or("crash-rate", quotas.crash_rate, values::count(0));
        quotas.restart_delay = section.read_or("restart-delay", quotas.restart_delay, values::time);
        quotas.artifacts.count = number(&section, "artifacts", quotas.artifacts.count);
        quotas.artifacts.bytes = section.read_or("artifact-bytes", quotas.artifacts.bytes, values::bytes);
        section.finish();
    }
    quotas
}

fn number(section: &Section<'_>, key: &'static str, default: usize) -> usize {
    let number = section.read_or(key, default as u64, values::count(0));
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn on_broker_death(value: &DeValue<'_>) -> Result<OnBrokerDeath, String> {
    values::one_of([("stop", OnBrokerDeath::Stop), ("enosys", OnBrokerDeath::Enosys)])(value)
}

fn output(value: &DeValue<'_>, source: &Source) -> Result<Output, String> {
    Ok(match &*values::filled(value)? {
        "inherit" => Output::Inherit,
        "null" => Output::Null,
        path if path.contains('/') => Output::File(values::full(&source.directory, path)),
        other => {
            return Err(format!("\"{other}\" is none of \"inherit\", \"null\", or a path (\"./{other}\")"));
        }
    })
}

fn signal(value: &DeValue<'_>) -> Result<Signal, String> {
    let text = values::string(value)?;
    text.parse().map_err(|_| format!("\"{text}\" is no signal: write \"SIGTERM\", \"SIGINT\", ..."))
}
