//! The artifacts of a tenant's crashes: each place in the code once, and within bounds.
//!
//! The broker opens no file. It keeps what it knows of a crash, and has the spawner fork a process that writes it
//! ([`mod@crate::artifact::write`]), one at a time.

use super::token::Token;
use super::workers::process::{AllegedCall, Worker};
use super::workers::supervision::PAST_DEADLINE;
use crate::artifact::record::Sightings;
use crate::artifact::write::{Seen, Written, split};
use crate::artifact::{End, Facts, place};
use crate::launch::Launch;
use crate::processes::spawner::message::Start;
use crate::processes::spawner_client::{Ordered, SpawnError, Spawned, SpawnerClient};
use crate::sys::pidfd;
use crate::sys::poller::Poller;
use crate::sys::shared::SharedWords;
use kcov_proto::claims::Claims;
use kcov_proto::journal::{self, RESULT};
use kcov_proto::message::LoadedModule;
use kcov_proto::quota::{Quota, Refusals};
use kcov_proto::sync::Ordering;
use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tracing::{info, warn};

/// Places that are remembered. A handler with more of them corrupts its stack.
const MAX_PLACES: usize = 4096;
/// Artifacts that wait for their writer, each with its journal of 256 KiB.
const MAX_WAITING: usize = 16;
/// Time between two updates of how often a place was seen.
const PACE: Duration = Duration::from_secs(10);
/// Sightings that one message holds.
const MAX_SEEN: usize = 256;

/// A place in the code where workers died.
#[derive(Debug)]
struct Place {
    /// Sightings since they were last written to the artifact.
    again: Option<Sightings>,
    /// Whether the artifact exists.
    is_written: bool,
}

/// What is to be done about a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// An artifact is to be written.
    New,
    /// The place is known.
    Again,
    /// There is no room for more.
    Refused,
}

/// The places that are known.
#[derive(Debug, Default)]
struct Places(HashMap<String, Place>);

impl Places {
    /// Notes a crash. `has_room`: another artifact may wait for its writer.
    fn see(&mut self, name: &str, when: u64, has_room: bool) -> Sight {
        let once = Sightings { count: 1, first: when, last: when };
        if let Some(place) = self.0.get_mut(name) {
            place.again = Some(place.again.map_or(once, |before| before.and(once)));
            return Sight::Again;
        }
        if self.0.len() >= MAX_PLACES || !has_room {
            return Sight::Refused;
        }
        self.0.insert(name.to_owned(), Place { again: None, is_written: false });
        Sight::New
    }

    /// Notes what a writer did. A place without an artifact is forgotten, so that the next crash there tries again. Returns
    /// how many crashes were left without an artifact.
    fn written(&mut self, name: &str, written: Option<Written>) -> u64 {
        match written {
            Some(Written::New | Written::Known) => {
                if let Some(place) = self.0.get_mut(name) {
                    place.is_written = true;
                }
                0
            }
            Some(Written::TooMany | Written::TooLarge) | None => {
                let again = self.0.remove(name).and_then(|place| place.again);
                1 + again.map_or(0, |sightings| sightings.count)
            }
        }
    }

    /// Sightings to be added to artifacts, as many as one message holds.
    fn take_seen(&mut self) -> Vec<Seen> {
        let written = self.0.iter_mut().filter(|(_, place)| place.is_written);
        let seen = written
            .filter_map(|(name, place)| Some(Seen { name: name.clone(), sightings: place.again.take()? }));
        seen.take(MAX_SEEN).collect()
    }
}

/// An artifact that is being written.
#[derive(Debug)]
struct Writing {
    name: String,
    journal: SharedWords,
    /// `None` until the spawner has started it.
    writer: Option<Spawned>,
}

/// The artifacts of one tenant.
#[derive(Debug)]
pub struct Artifacts {
    /// Where they go; `None` if none are wanted.
    directory: Option<PathBuf>,
    /// Libraries with handlers.
    libraries: Vec<String>,
    /// Paths of the handlers' devices, by their number.
    devices: Vec<String>,
    places: Places,
    waiting: VecDeque<(Facts, SharedWords)>,
    writing: Option<Writing>,
    /// When sightings were last written.
    updated: Option<Instant>,
    written: u64,
    refused: u64,
    refusals: Refusals,
}

impl Artifacts {
    /// None so far.
    #[must_use]
    pub fn new(launch: &Launch, claims: &Claims) -> Self {
        let arguments = launch.handlers.iter().map(|argument| argument.to_string_lossy());
        Artifacts {
            directory: launch.artifacts.clone().filter(|_| !claims.is_empty()),
            libraries: arguments.map(|argument| split(&argument).0.to_owned()).collect(),
            devices: claims.devices().map(|device| device.path.clone()).collect(),
            places: Places::default(),
            waiting: VecDeque::new(),
            writing: None,
            updated: None,
            written: 0,
            refused: 0,
            refusals: Refusals::default(),
        }
    }

    /// Artifacts written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Crashes that left no artifact so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// What was refused over a quota.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        self.refusals
    }

    /// Keeps what is known of a worker that died in a call of a handler, once for each place in the code.
    pub fn keep(
        &mut self,
        worker: &mut Worker,
        call: &AllegedCall,
        modules: &[LoadedModule],
        helpers: (&mut SpawnerClient, &Poller<Token>),
    ) {
        if self.directory.is_none() {
            return;
        }
        let words: Vec<u64> = worker.journal().iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let journal = journal::parse(&words);
        if !journal.active {
            return;
        }
        let end = match (worker.killed(), worker.end_signal()) {
            (Some(PAST_DEADLINE), _) => End::Hang,
            (_, 0) => End::Exit(worker.end_status()),
            (_, signal) => End::Signal(signal),
        };
        let name = place::name(end, &journal, modules, &self.libraries);
        let when = now();
        match self.places.see(&name, when, self.waiting.len() < MAX_WAITING) {
            Sight::Again => return,
            Sight::Refused => {
                self.refused += 1;
                warn!(event = "artifact_refused", name, "no artifact: too many crashes at once");
                return;
            }
            Sight::New => {}
        }
        let facts = Facts {
            name,
            end,
            tid: call.tid,
            call: call.name.clone(),
            devices: self.devices.clone(),
            output: worker.output().rest(),
            modules: modules.to_vec(),
            when,
        };
        match worker.journal().try_clone() {
            Ok(journal) => self.waiting.push_back((facts, journal)),
            Err(errno) => warn!(%errno, "no artifact: cannot keep the journal"),
        }
        self.write_next(helpers);
    }

    /// Has the next artifact written, if none is being written.
    fn write_next(&mut self, (spawner, _): (&mut SpawnerClient, &Poller<Token>)) {
        if self.writing.is_some() {
            return;
        }
        let Some((facts, journal)) = self.waiting.pop_front() else { return };
        let name = facts.name.clone();
        // The worker may have written there.
        journal[RESULT].store(0, Ordering::Relaxed);
        match spawner.start(&Start::Artifact(Box::new(facts)), &[&journal.file()], Ordered::Artifact) {
            Ok(()) => self.writing = Some(Writing { name, journal, writer: None }),
            Err(error) => {
                warn!(%error, name, "cannot write an artifact");
                self.places.written(&name, None);
            }
        }
    }

    /// The spawner has started the writer, or could not.
    pub fn writer_started(
        &mut self,
        started: Result<Spawned, SpawnError>,
        helpers: (&mut SpawnerClient, &Poller<Token>),
    ) {
        let Some(writing) = &mut self.writing else { return };
        match started {
            Ok(writer) => {
                if let Err(errno) = helpers.1.add_once(&writer.pidfd, Token::Artifact) {
                    warn!(%errno, "cannot watch the writer of an artifact");
                }
                writing.writer = Some(writer);
            }
            Err(error) => {
                warn!(%error, name = writing.name, "cannot write an artifact");
                self.places.written(&writing.name, None);
                self.writing = None;
                self.write_next(helpers);
            }
        }
    }

    /// The writer has ended.
    pub fn writer_ended(&mut self, helpers: (&mut SpawnerClient, &Poller<Token>)) {
        let Some(Writing { name, journal, writer }) = self.writing.take() else { return };
        writer.iter().for_each(|writer| helpers.1.remove(&writer.pidfd));
        let written = Written::from_word(journal[RESULT].load(Ordering::Acquire));
        let missed = self.places.written(&name, written);
        match written {
            Some(Written::New) => {
                self.written += 1;
                let path = self.directory.as_ref().map(|directory| directory.join(&name));
                let path = path.unwrap_or_default().display().to_string();
                warn!(event = "artifact", name, path, "crash artifact written");
            }
            Some(Written::Known) => {}
            Some(Written::TooMany) => self.refuse(Quota::Artifacts, &name, missed),
            Some(Written::TooLarge) => self.refuse(Quota::ArtifactBytes, &name, missed),
            None => warn!(event = "artifact_failed", name, "the writer of an artifact failed"),
        }
        self.write_next(helpers);
    }

    fn refuse(&mut self, quota: Quota, name: &str, times: u64) {
        self.refused += times;
        self.refusals.add(quota, times);
        info!(event = "artifact_refused", name, times, "no artifact: over the quota");
    }

    /// Has sightings written to the artifacts now and then.
    pub fn update(&mut self, now: Instant, spawner: &mut SpawnerClient) {
        if self.updated.is_none_or(|updated| now.saturating_duration_since(updated) >= PACE) {
            self.updated = Some(now);
            self.write_sightings(spawner);
        }
    }

    /// Returns whether there were sightings, and the spawner took the order.
    fn write_sightings(&mut self, spawner: &mut SpawnerClient) -> bool {
        let seen = self.places.take_seen();
        !seen.is_empty() && spawner.start(&Start::Sightings(seen), &[], Ordered::Sightings).is_ok()
    }

    /// The end of the run: waits until everything is written, but not longer than `patience` for anything.
    pub fn finish(&mut self, spawner: &mut SpawnerClient, poller: &Poller<Token>, patience: Duration) {
        let milliseconds = u16::try_from(patience.as_millis()).unwrap_or(u16::MAX);
        let has_ended = |process: &Spawned| pidfd::wait_dead(process.pidfd.as_fd(), milliseconds);
        while let Some(writing) = &self.writing {
            let is_written = match &writing.writer {
                Some(writer) => has_ended(writer),
                None => match spawner.receive_until(Instant::now() + patience) {
                    Some((Ordered::Artifact, started)) => {
                        self.writer_started(started, (spawner, poller));
                        continue;
                    }
                    Some(_) => continue,
                    None => false,
                },
            };
            if !is_written {
                warn!("the writer of an artifact does not end");
                return;
            }
            self.writer_ended((spawner, poller));
        }
        while self.write_sightings(spawner) {
            let started = std::iter::from_fn(|| spawner.receive_until(Instant::now() + patience));
            let writer =
                started.filter(|(what, _)| *what == Ordered::Sightings).find_map(|(_, started)| started.ok());
            if !writer.is_some_and(|writer| has_ended(&writer)) {
                return;
            }
        }
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_once_and_counted() {
        let mut places = Places::default();
        assert_eq!(places.see("a", 1, true), Sight::New);
        assert_eq!(places.see("a", 2, true), Sight::Again);
        assert!(places.take_seen().is_empty(), "there is no artifact yet");
        places.written("a", Some(Written::New));
        assert_eq!(places.see("a", 3, true), Sight::Again);
        let seen = places.take_seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].sightings, Sightings { count: 2, first: 2, last: 3 });
        assert!(places.take_seen().is_empty());
    }

    #[test]
    fn a_place_without_an_artifact_is_tried_again() {
        for written in [Some(Written::TooMany), Some(Written::TooLarge), None] {
            let mut places = Places::default();
            assert_eq!(places.see("a", 1, true), Sight::New);
            assert_eq!(places.see("a", 1, true), Sight::Again);
            assert_eq!(places.written("a", written), 2);
            assert_eq!(places.see("a", 2, true), Sight::New);
        }
    }

    #[test]
    fn places_are_bounded() {
        let mut places = Places::default();
        for number in 0..MAX_PLACES {
            assert_eq!(places.see(&number.to_string(), 1, true), Sight::New);
        }
        assert_eq!(places.see("one more", 1, true), Sight::Refused);
        assert_eq!(places.see("0", 1, true), Sight::Again);
    }
}
