//! Writing an artifact: in a process of its own, out of a journal whose writer was hostile at worst.

use super::frames::{Frame, frames};
use super::{End, Facts};
use crate::launch::Launch;
use kcov_proto::journal::{self, Event};
use nix::sys::uio::pread;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Version of `artifact.json`.
const VERSION: u32 = 1;

/// `artifact.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Artifact {
    /// Version of this layout.
    pub version: u32,
    /// The worker program.
    pub worker: String,
    /// Libraries with handlers, as the worker program takes them.
    pub handlers: Vec<String>,
    /// Libraries that are loaded before all others.
    pub preload: Option<String>,
    /// How the worker ended.
    pub end: End,
    /// The call that it had, for people.
    pub call: String,
    /// Calling thread.
    pub tid: u32,
    /// Paths of the handlers' devices, by their number.
    pub devices: Vec<String>,
    /// Address that a fault was about, or 0.
    pub fault: u64,
    /// Where it was, the innermost first.
    pub stack: Vec<Frame>,
    /// What it did before is not all there.
    pub truncated: bool,
    /// What it did, the oldest first; the last is what it was at.
    pub events: Vec<Event>,
}

/// Writes an artifact. Takes one descriptor: the journal. Returns the exit status.
pub fn serve(descriptors: Vec<OwnedFd>, facts: &Facts, launch: &Launch) -> i32 {
    let Ok([file]) = <[OwnedFd; 1]>::try_from(descriptors) else { return 1 };
    let Some(directory) = &launch.artifacts else { return 1 };
    let mut bytes = vec![0; journal::WORDS * 8];
    let Ok(length) = pread(&file, &mut bytes, 0) else { return 1 };
    let (words, _) = bytes[..length].as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    match write(&artifact(facts, &words, launch), facts, &directory.join(&facts.name)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!(
                "kcov-broker: cannot write the artifact {}: {error}",
                directory.join(&facts.name).display()
            );
            1
        }
    }
}

fn artifact(facts: &Facts, words: &[u64], launch: &Launch) -> Artifact {
    let journal = journal::parse(words);
    let text = |text: &std::ffi::CString| text.to_string_lossy().into_owned();
    let mut artifact = Artifact {
        version: VERSION,
        worker: text(&launch.worker),
        handlers: launch.handlers.iter().map(text).collect(),
        preload: launch.preload.as_ref().map(text),
        end: facts.end,
        call: facts.call.clone(),
        tid: facts.tid,
        devices: facts.devices.clone(),
        fault: journal.fault,
        stack: frames(&journal.stack, &facts.modules),
        truncated: journal.truncated,
        events: journal.events,
    };
    artifact.call = artifact.last_call().unwrap_or(artifact.call);
    artifact
}

impl Artifact {
    /// What the worker was at, if a handler was.
    fn last_call(&self) -> Option<String> {
        let device = |number: u16| {
            self.devices.get(usize::from(number)).map_or_else(|| format!("device {number}"), Clone::clone)
        };
        let device_of = |wanted| {
            self.events.iter().rev().find_map(|event| match event {
                Event::Open { file, device: number, .. } if *file == wanted => Some(device(*number)),
                _ => None,
            })
        };
        self.events.iter().rev().find_map(|event| match event {
            Event::Call { args, .. } => Some(format!("{}({})", self.call, hex(args))),
            Event::Open { device: number, flags, .. } => {
                Some(format!("open({}, {flags:#x})", device(*number)))
            }
            Event::Ioctl { file, request, arg } => {
                let device = device_of(*file).unwrap_or_else(|| format!("file {}", file.number()));
                Some(format!("ioctl({device}, {request:#x}, {arg:#x})"))
            }
            Event::Closed { .. } | Event::Read { .. } | Event::NoRead { .. } => None,
        })
    }

    /// Reads an artifact.
    ///
    /// # Errors
    /// If the folder is none.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        use anyhow::Context;
        let path = folder.join("artifact.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let artifact: Artifact =
            serde_json::from_str(&text).with_context(|| format!("{} is no artifact", path.display()))?;
        anyhow::ensure!(
            artifact.version == VERSION,
            "{} has version {}, and this program knows {VERSION}",
            path.display(),
            artifact.version
        );
        Ok(artifact)
    }

    fn report(&self, facts: &Facts) -> String {
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
        if !facts.output.is_empty() {
            let _ = writeln!(text, "\nWhat the worker wrote:\n{}", String::from_utf8_lossy(&facts.output));
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
    }
}

/// Writes all files into a folder of another name, which then takes the place: an artifact is there or not.
fn write(artifact: &Artifact, facts: &Facts, folder: &Path) -> anyhow::Result<()> {
    let mut unfinished = PathBuf::from(folder);
    unfinished.set_extension("unfinished");
    fs::create_dir_all(&unfinished)?;
    fs::write(unfinished.join("artifact.json"), serde_json::to_vec_pretty(artifact)?)?;
    fs::write(unfinished.join("events.bin"), journal::encode(&artifact.events)?)?;
    fs::write(unfinished.join("output.txt"), &facts.output)?;
    fs::write(unfinished.join("report.txt"), artifact.report(facts))?;
    fs::rename(&unfinished, folder)?;
    Ok(())
}
