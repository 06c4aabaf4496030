//! The file `artifact.json`.

use super::End;
use super::frames::{Frame, of_the_handler};
use crate::printable;
use crate::sys::plain_file;
use anyhow::Context;
use kcov_proto::journal::Event;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

/// Version of `artifact.json`.
pub const VERSION: u32 = 1;
/// Maximum size of the file, in bytes: the file is untrusted.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Name of the file.
pub const FILE: &str = "artifact.json";

/// A program or library and its build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// Path of the file.
    pub path: String,
    /// Build id or hash; absent if the file could not be read.
    pub build: Option<String>,
}

/// A handler library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// The library.
    #[serde(flatten)]
    pub binary: Binary,
    /// The configuration string passed to its entry function.
    pub config: Option<String>,
}

/// The contents of `artifact.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Version of this layout.
    pub version: u32,
    /// How the worker ended.
    pub end: End,
    /// The call that it was handling, for people.
    pub call: String,
    /// Thread that made the call.
    pub tid: u32,
    /// The worker program.
    pub worker: Binary,
    /// Handler libraries, in the order of dispatch.
    pub handlers: Vec<Library>,
    /// Libraries that are preloaded.
    pub preload: Option<String>,
    /// Paths of the handlers' devices, by device number.
    pub devices: Vec<String>,
    /// Faulting address, if the signal has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<u64>,
    /// System call that the jail forbids, if the worker was killed for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbidden: Option<String>,
    /// The stack, innermost frame first.
    pub stack: Vec<Frame>,
    /// Whether the oldest events are missing.
    pub truncated: bool,
    /// Whether some memory reads are missing.
    pub reads_missing: bool,
    /// The handler's events, oldest first. It was processing the last call, open, ioctl or close when it died.
    pub events: Vec<Event>,
}

/// How often a crash was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// Number of crashes.
    pub count: u64,
    /// Time of the first one, in seconds since 1970.
    pub first: u64,
    /// Time of the last one, likewise.
    pub last: u64,
}

impl Sightings {
    /// Adds two counts.
    #[must_use]
    pub fn and(self, other: Sightings) -> Sightings {
        Sightings {
            count: self.count.saturating_add(other.count),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

impl Artifact {
    /// Reads the artifact in a folder. Its contents are untrusted.
    ///
    /// # Errors
    /// If the folder has no artifact, or one of another version.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let shown = path.display();
        let cannot_read = || format!("{} is not an artifact: cannot read its {FILE}", folder.display());
        let bytes = plain_file::read(&path, MAX_BYTES).with_context(cannot_read)?;
        let text = String::from_utf8(bytes)
            .with_context(|| format!("{shown} is not an artifact: it is not UTF-8"))?;
        // The message may quote the file.
        let parsed =
            Self::parse(&text).map_err(|error| anyhow::anyhow!("{}", printable::line(&error.to_string())));
        parsed.with_context(|| format!("{shown} is not a valid artifact"))
    }

    /// Parses the text of `artifact.json`.
    ///
    /// # Errors
    /// If it is malformed, or of another version.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        anyhow::ensure!(
            version == VERSION,
            "unsupported version {version}: this program reads version {VERSION}"
        );
        Ok(serde_json::from_str(text)?)
    }

    /// The handler's frames in `stack`.
    pub(super) fn frames_of_the_handler(&self) -> Option<Range<usize>> {
        let libraries: Vec<&str> = self.handlers.iter().map(|library| library.binary.path.as_str()).collect();
        of_the_handler(&self.stack, &libraries)
    }

    /// The crash location in one line: the innermost frame of the handler; if that is unknown, the innermost frame with
    /// a source file.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let of_the_handler = self.frames_of_the_handler().and_then(|frames| self.stack.get(frames.start));
        let known = || self.stack.iter().find(|frame| frame.file.is_some());
        Some(of_the_handler.or_else(known).or_else(|| self.stack.first())?.to_string())
    }

    /// The request that the handler was processing, if there was one.
    pub(super) fn last_call(&self) -> Option<String> {
        let device = |number: u16| {
            self.devices.get(usize::from(number)).map_or_else(|| format!("device {number}"), Clone::clone)
        };
        let device_of = |wanted| {
            let opened = self.events.iter().rev().find_map(|event| match event {
                Event::Open { file, device: number, .. } if *file == wanted => Some(device(*number)),
                _ => None,
            });
            opened.unwrap_or_else(|| format!("file {}", wanted.number()))
        };
        self.events.iter().rev().find_map(|event| match event {
            Event::Call { args, .. } => Some(format!("{}({})", self.call, hex(args))),
            Event::Open { device: number, flags, .. } => {
                Some(format!("open({}, {flags:#x})", device(*number)))
            }
            Event::Ioctl { file, request, arg } => {
                Some(format!("ioctl({}, {request:#x}, {arg:#x})", device_of(*file)))
            }
            Event::Closed { file } => Some(format!("the last close of {}", device_of(*file))),
            Event::Read { .. } | Event::NoRead { .. } | Event::NoWrite { .. } => None,
        })
    }
}

pub(super) fn hex(words: &[u64]) -> String {
    words.iter().map(|word| format!("{word:#x}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
