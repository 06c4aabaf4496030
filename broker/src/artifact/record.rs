//! `artifact.json`.

use super::End;
use super::frames::{Frame, of_the_handler};
use anyhow::Context;
use kcov_proto::journal::Event;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// Version of `artifact.json`.
pub const VERSION: u32 = 1;
/// Most bytes of one: it may come from anywhere.
const MOST: u64 = 64 * 1024 * 1024;
/// Name of the file.
pub(super) const FILE: &str = "artifact.json";

/// A program or library, and which build of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binary {
    /// Its file.
    pub path: String,
    /// Its build id, or a hash; absent if the file could not be read.
    pub build: Option<String>,
}

/// A library with a handler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// The file.
    #[serde(flatten)]
    pub binary: Binary,
    /// What its entry function was given.
    pub config: Option<String>,
}

/// `artifact.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Version of this layout.
    pub version: u32,
    /// How the worker ended.
    pub end: End,
    /// The call that it had, for people.
    pub call: String,
    /// Calling thread.
    pub tid: u32,
    /// The worker program.
    pub worker: Binary,
    /// Libraries with handlers, in the order in which they are asked.
    pub handlers: Vec<Library>,
    /// Libraries that are loaded before all others.
    pub preload: Option<String>,
    /// Paths of the handlers' devices, by their number.
    pub devices: Vec<String>,
    /// Address that a fault was about, if it was about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<u64>,
    /// Call that the jail forbade it, if it died of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbidden: Option<String>,
    /// Where it was, the innermost first.
    pub stack: Vec<Frame>,
    /// What it did at first is missing.
    pub truncated: bool,
    /// Some of what it read is missing.
    pub reads_missing: bool,
    /// What it did, the oldest first; the last call, open, request or close is what it was at.
    pub events: Vec<Event>,
}

/// How often an artifact's crash was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sightings {
    /// Times.
    pub count: u64,
    /// The first time, seconds since 1970.
    pub first: u64,
    /// The last time.
    pub last: u64,
}

impl Sightings {
    /// Both together.
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
    /// Reads the artifact of a folder, which may come from anywhere.
    ///
    /// # Errors
    /// If the folder is none, or of another version.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(FILE);
        let shown = path.display();
        let is_none = || format!("{} is no artifact: cannot read {FILE} there", folder.display());
        let mut text = String::new();
        let file = File::open(&path).with_context(is_none)?;
        file.take(MOST + 1).read_to_string(&mut text).with_context(is_none)?;
        anyhow::ensure!(text.len() as u64 <= MOST, "{shown} is no artifact: it has more than {MOST} bytes");
        Self::parse(&text).with_context(|| format!("{shown} is no artifact of this program"))
    }

    /// Reads the text of `artifact.json`.
    ///
    /// # Errors
    /// If it is none, or of another version.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        anyhow::ensure!(version == VERSION, "it has version {version}, and this program knows {VERSION}");
        Ok(serde_json::from_str(text)?)
    }

    /// Which of its frames are the handler's.
    pub(super) fn frames_of_the_handler(&self) -> Option<Range<usize>> {
        let libraries: Vec<&str> = self.handlers.iter().map(|library| library.binary.path.as_str()).collect();
        of_the_handler(&self.stack, &libraries)
    }

    /// Where it was, in one line: the innermost frame that is of a handler, as far as that can be told; else one of
    /// which the source is known.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let of_the_handler = self.frames_of_the_handler().and_then(|frames| self.stack.get(frames.start));
        let known = || self.stack.iter().find(|frame| frame.file.is_some());
        Some(of_the_handler.or_else(known).or_else(|| self.stack.first())?.to_string())
    }

    /// What the worker was at, if a handler was.
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
