//! `[serve]`: settings of the service as a whole.

use super::errors::Place;
use super::section::Section;
use super::source::Source;
use super::values;
use crate::logs::LogFormat;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// Default time between two writes of a file with metrics.
pub const METRICS_INTERVAL: Duration = Duration::from_secs(15);

/// `[serve]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// The control socket; by default, the one of the calling user.
    pub socket: Option<PathBuf>,
    /// With root: uids and gids for workers, one for each tenant.
    pub uids: RangeInclusive<u32>,
    /// Longest time that an orderly shutdown takes.
    pub shutdown: Duration,
    /// Format of the log.
    pub log_format: LogFormat,
    /// Where metrics are exported.
    pub metrics: Option<MetricsConfig>,
}

/// `[serve.metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// A file that is rewritten periodically.
    pub file: Option<PathBuf>,
    /// Time between two writes.
    pub every: Duration,
    /// A Unix socket that answers HTTP requests.
    pub listen: Option<PathBuf>,
}

/// Where the keys are whose values are also checked against the machine.
#[derive(Clone, Debug)]
pub struct ServePlaces {
    /// `serve.socket`.
    pub socket: Place,
    /// `serve.uids`.
    pub uids: Place,
    /// `serve.metrics.file`.
    pub file: Place,
    /// `serve.metrics.listen`.
    pub listen: Place,
}

impl ServePlaces {
    pub(super) fn new(section: Option<&Section<'_>>, source: &Source) -> Self {
        let metrics = section.and_then(|section| section.section("metrics"));
        let place = |section: Option<&Section<'_>>, name: &str, key: &'static str| match section {
            Some(section) if section.has(key) => section.place(key, &(0..0)),
            _ => Place { key: format!("{name}.{key}"), ..Place::file(&source.name) },
        };
        ServePlaces {
            socket: place(section, "serve", "socket"),
            uids: place(section, "serve", "uids"),
            file: place(metrics.as_ref(), "serve.metrics", "file"),
            listen: place(metrics.as_ref(), "serve.metrics", "listen"),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        /// Above the uids that systems assign to users and services (up to 65,534) and containers (524,288 to
        /// 1,879,048,191 with systemd), and above those of single runs.
        const UIDS: RangeInclusive<u32> = 0x7100_0000..=0x7100_ffff;
        ServeConfig {
            socket: None,
            uids: UIDS,
            shutdown: Duration::from_secs(30),
            log_format: LogFormat::default(),
            metrics: None,
        }
    }
}

impl ServeConfig {
    pub(super) fn read(section: &Section<'_>, source: &Source) -> Self {
        let default = ServeConfig::default();
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let read = ServeConfig {
            socket: section.read("socket", values::path(&source.directory)),
            uids: section.read_or("uids", default.uids, uids),
            shutdown: section.read_or("shutdown", default.shutdown, values::time),
            log_format: section.read_or("log-format", default.log_format, values::one_of(formats)),
            metrics: section.section("metrics").map(|section| MetricsConfig::read(&section, source)),
        };
        section.finish();
        read
    }
}

impl MetricsConfig {
    fn read(section: &Section<'_>, source: &Source) -> Self {
        let path = values::path(&source.directory);
        let read = MetricsConfig {
            file: section.read("file", &path),
            every: section.read_or("every", METRICS_INTERVAL, values::time),
            listen: section.read("listen", &path),
        };
        if !section.has("file") && !section.has("listen") {
            let place = section.place("file", &section.span());
            section
                .diagnostics()
                .add_missing(place, "is missing, and so is `listen`: set at least one of them");
        }
        section.finish();
        read
    }
}

/// `FIRST-LAST`, without root, nobody, and the numbers that mean "no id" (`chown(2)`).
fn uids(value: &DeValue<'_>) -> Result<RangeInclusive<u32>, String> {
    let text = values::filled(value)?;
    let wrong =
        || format!("\"{text}\" is not a range: write \"FIRST-LAST\", such as \"1895825408-1895890943\"");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("{first} is greater than {last}: write the lower one first"));
    }
    if first == 0 || last == u32::MAX || (first..=last).contains(&65_534) || (first..=last).contains(&65_535)
    {
        return Err("must not contain 0 (root), 65534 (nobody), 65535 or 4294967295 (no id)".into());
    }
    Ok(first..=last)
}
