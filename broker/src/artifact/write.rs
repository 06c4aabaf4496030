//! The writer process: writes one artifact from the journal of a dead worker. The journal is untrusted.

use super::build;
use super::frames::Symbols;
use super::record::{Artifact, Binary, FILE, Library, Sightings, VERSION};
use super::store::{Bounds, Store};
use super::{End, Facts};
use crate::launch::quotas::Quotas;
use crate::launch::{Launch, call_name};
use crate::sandbox::confine;
use crate::sys::privilege;
use crate::sys::shared::SharedWords;
use kcov_proto::journal::{self, RESULT};
use kcov_proto::sync::Ordering;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use tracing::warn;

/// CPU time limit, in seconds: debugging information may be damaged and take for ever to parse.
const SECONDS: u64 = 60;
/// Address space limit, in bytes.
const MEMORY: u64 = 8 << 30;

/// `CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH`: the directory, programs and libraries may belong to other users.
const CAPABILITIES: u64 = 1 << 1 | 1 << 2;

/// The result of writing an artifact, stored in the word [`RESULT`] of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Written {
    /// Written.
    New = 1,
    /// It existed already; counted as a sighting.
    Known = 2,
    /// Not written: the number of artifacts is at its limit.
    TooMany = 3,
    /// Not written: the total size would exceed its limit.
    TooLarge = 4,
}

impl Written {
    /// Decodes the word; `None` if the writer did not finish.
    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        [Written::New, Written::Known, Written::TooMany, Written::TooLarge]
            .into_iter()
            .find(|written| *written as u64 == word)
    }
}

/// New sightings of an existing artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Name of the artifact.
    pub name: String,
    /// Sightings since the last such message.
    pub sightings: Sightings,
}

/// Main function of the process that writes an artifact. `descriptors` holds the journal. Returns the exit status.
pub fn serve(descriptors: Vec<OwnedFd>, facts: &Facts, launch: &Launch) -> i32 {
    let Ok([file]) = <[OwnedFd; 1]>::try_from(descriptors) else { return 1 };
    let Some(directory) = begin(launch, &[file.as_fd()]) else { return 1 };
    let Ok(words) = SharedWords::open(file, journal::WORDS) else { return 1 };
    match write(facts, &words, launch, &directory) {
        Ok(written) => {
            words[RESULT].store(written as u64, Ordering::Release);
            0
        }
        Err(error) => {
            let (name, directory) = (facts.name.as_str(), directory.display());
            let reason = format!("{error:#}");
            warn!(event = "artifact_failed", name, %directory, reason, "cannot write a crash artifact");
            1
        }
    }
}

/// Main function of the process that records further sightings of artifacts. Returns the exit status.
pub fn count(seen: &[Seen], launch: &Launch) -> i32 {
    let Some(directory) = begin(launch, &[]) else { return 1 };
    let Ok(store) = Store::lock(&directory, launch.user()) else { return 1 };
    for Seen { name, sightings } in seen {
        // Fails if the artifact was removed meanwhile, which is not an error.
        let _ = store.add_sightings(name, *sightings);
    }
    0
}

/// Drops descriptors and capabilities that a writer does not need, and limits its resources. Returns the directory of
/// artifacts.
fn begin(launch: &Launch, keep: &[std::os::fd::BorrowedFd<'_>]) -> Option<PathBuf> {
    launch.name_process(c"kcov-artifact");
    confine::keep_only(keep).ok()?;
    setrlimit(Resource::RLIMIT_CPU, SECONDS, SECONDS).ok()?;
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).ok()?;
    let held = privilege::capabilities().ok()?;
    privilege::set_capabilities(held.permitted & CAPABILITIES).ok()?;
    launch.artifacts.clone()
}

fn write(facts: &Facts, words: &SharedWords, launch: &Launch, directory: &Path) -> anyhow::Result<Written> {
    let store = Store::lock(directory, launch.user())?;
    let sightings = Sightings { count: 1, first: facts.when, last: facts.when };
    if store.has(&facts.name) {
        store.add_sightings(&facts.name, sightings)?;
        return Ok(Written::Known);
    }
    let Quotas { artifacts: count, artifact_bytes: bytes, .. } = launch.quotas;
    let room = store.room(Bounds { count, bytes })?;
    if room.count == 0 {
        return Ok(Written::TooMany);
    }
    let files = files(facts, words, launch)?;
    if files.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() > room.bytes {
        return Ok(Written::TooLarge);
    }
    store.put(&facts.name, &files)?;
    store.add_sightings(&facts.name, sightings)?;
    Ok(Written::New)
}

fn files(
    facts: &Facts,
    words: &SharedWords,
    launch: &Launch,
) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let words: Vec<u64> = words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    let mut symbols = Symbols::of(&facts.modules);
    let artifact = artifact(facts, &words, launch, &mut symbols);
    let libraries: Vec<_> = artifact.handlers.iter().map(|library| library.binary.path.as_str()).collect();
    let output = symbols.explain(&String::from_utf8_lossy(&facts.output), &libraries);
    Ok(vec![
        (FILE, serde_json::to_vec_pretty(&artifact)?),
        ("events.bin", journal::encode(&artifact.events)?),
        ("output.txt", facts.output.clone()),
        ("report.txt", artifact.report(&output).into_bytes()),
    ])
}

fn artifact(facts: &Facts, words: &[u64], launch: &Launch, symbols: &mut Symbols<'_>) -> Artifact {
    let journal = journal::parse(words);
    let text = |text: &CString| text.to_string_lossy().into_owned();
    let forbidden = journal.forbidden.filter(|_| facts.end == End::Signal(Signal::SIGSYS as i32));
    let mut artifact = Artifact {
        version: VERSION,
        end: facts.end,
        call: facts.call.clone(),
        tid: facts.tid,
        worker: binary(&text(&launch.worker)),
        handlers: launch.handlers.iter().map(|handler| library(&text(handler))).collect(),
        preload: launch.preload.as_ref().map(text),
        devices: facts.devices.clone(),
        fault: journal.fault,
        forbidden: forbidden.map(|(arch, number)| call_name(arch, number)),
        stack: symbols.frames(&journal.stack),
        truncated: journal.truncated,
        reads_missing: journal.reads_missing,
        events: journal.events,
    };
    artifact.call = artifact.last_call().unwrap_or(artifact.call);
    artifact
}

fn binary(path: &str) -> Binary {
    Binary { path: path.to_owned(), build: build::of(Path::new(path)) }
}

/// Parses `--handler=PATH[:CONFIG]`.
fn library(argument: &str) -> Library {
    let (path, config) = split(argument);
    Library { binary: binary(path), config: config.map(ToOwned::to_owned) }
}

/// Splits the worker program's argument `--handler=PATH[:CONFIG]` into path and configuration.
pub fn split(argument: &str) -> (&str, Option<&str>) {
    let library = argument.strip_prefix("--handler=").unwrap_or(argument);
    library.split_once(':').map_or((library, None), |(path, config)| (path, Some(config)))
}
