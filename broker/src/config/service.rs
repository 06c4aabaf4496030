//! `[serve]`: what concerns all tenants.

use super::errors::Place;
use super::section::Section;
use super::{Source, values};
use crate::live::exporter;
use crate::logs::LogFormat;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// What concerns all tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// The control socket; by default in the directory for this user's.
    pub socket: Option<PathBuf>,
    /// With root: uids and gids that workers run under, one a tenant.
    pub uids: RangeInclusive<u32>,
    /// Longest that an orderly end of all takes.
    pub shutdown: Duration,
    /// Form of the log.
    pub log_format: LogFormat,
    /// Where the tenants' counters are kept for Prometheus, if they are.
    pub metrics: Option<MetricsConfig>,
}

/// `[serve.metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// A file that is written again and again.
    pub file: Option<PathBuf>,
    /// Time between two writes.
    pub every: Duration,
    /// A Unix socket on which HTTP requests are answered.
    pub listen: Option<PathBuf>,
}

/// Where keys stand about which the machine has a say.
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
        /// Beyond what systems hand out to users, services (up to 65,534) and containers (from 524,288 to
        /// 1,879,048,191 with systemd), and beyond those of single runs.
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
            every: section.read_or("every", exporter::EVERY, values::time),
            listen: section.read("listen", &path),
        };
        if !section.has("file") && !section.has("listen") {
            let place = section.place("file", &section.span());
            section.report().add_missing(place, "is missing, and so is `listen`: give one of them, or both");
        }
        section.finish();
        read
    }
}

/// `FIRST-LAST`, without root and without the numbers that mean "none" (`chown(2)`).
fn uids(value: &DeValue<'_>) -> Result<RangeInclusive<u32>, String> {
    let text = values::filled(value)?;
    let wrong = || format!("\"{text}\" is no range: write \"FIRST-LAST\", as \"1895825408-1895890943\"");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("{first} is above {last}: the lower one comes first"));
    }
    if first == 0 || last == u32::MAX || (first..=last).contains(&65_534) || (first..=last).contains(&65_535)
    {
        return Err(
            "workers must not run as root, as nobody (65534), nor as 65535 or 4294967295, which mean none"
                .into(),
        );
    }
    Ok(first..=last)
}
