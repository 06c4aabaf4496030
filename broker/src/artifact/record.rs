//! `artifact.json`, and the report that people read.

use super::End;
use super::frames::Frame;
use anyhow::Context;
use kcov_proto::journal::Event;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
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
    /// Address that a fault was about, or 0.
    pub fault: u64,
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

    /// Where it was, in one line: the innermost frame of which the source is known and that is of a handler, as far as
    /// that can be told.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        let is_library = |frame: &&Frame| {
            let module = frame.module.as_deref();
            self.handlers.iter().any(|library| Some(library.binary.path.as_str()) == module)
        };
        let known = || self.stack.iter().filter(|frame| frame.file.is_some());
        let frame = known().find(is_library).or_else(|| known().next()).or_else(|| self.stack.first())?;
        Some(frame.to_string())
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

    /// `report.txt`; `output` is what the worker wrote, explained.
    pub(super) fn report(&self, output: &str) -> String {
        let mut text = format!("{} in {}\n\n", self.end.name(), self.call);
        if self.fault != 0 {
            let _ = writeln!(text, "fault at {:#x}", self.fault);
        }
        for (depth, frame) in self.stack.iter().enumerate() {
            let _ = writeln!(text, "#{depth:<2} {frame}");
        }
        let _ = writeln!(text, "\nWhat the handler did, the oldest first:");
        if self.truncated {
            let _ = writeln!(text, "  (the beginning is missing)");
        }
        for event in &self.events {
            let _ = writeln!(text, "  {}", line(event));
        }
        if self.reads_missing {
            let _ = writeln!(text, "  (some of what it read is missing)");
        }
        if !output.is_empty() {
            let _ = writeln!(text, "\nWhat the worker wrote:\n{output}");
        }
        text
    }
}

fn hex(words: &[u64]) -> String {
    words.iter().map(|word| format!("{word:#x}")).collect::<Vec<_>>().join(", ")
}

fn line(event: &Event) -> String {
    match event {
        Event::Call { number, args, .. } => format!("call {number}({})", hex(args)),
        Event::Open { file, device, flags } => {
            format!("open of device {device}, flags {flags:#x}: file {}", file.number())
        }
        Event::Ioctl { file, request, arg } => {
            format!("ioctl(file {}, {request:#x}, {arg:#x})", file.number())
        }
        Event::Closed { file } => format!("close of file {}", file.number()),
        Event::Read { address, bytes } => {
            const SHOWN: usize = 64;
            let shown: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
            let more = if bytes.len() > SHOWN { "..." } else { "" };
            format!("  read of {} bytes at {address:#x}: {shown}{more}", bytes.len())
        }
        Event::NoRead { address, length } => format!("  read of {length} bytes at {address:#x}: refused"),
        Event::NoWrite { address, length } => format!("  write of {length} bytes at {address:#x}: refused"),
    }
}

#[cfg(test)]
mod tests;
