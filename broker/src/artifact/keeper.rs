//! What the broker knows of its tenant's artifacts: each place once, and no more than is asked for.

use super::place;
use super::record::Sightings;
use super::write::{Seen, Written};
use super::{End, Facts};
use crate::broker::poller::Token;
use crate::processes::spawner::message::Start;
use crate::processes::spawner_client::Spawned;
use crate::sys::pidfd;
use crate::sys::shared::SharedWords;
use crate::tenant::Tenant;
use crate::tenant::worker_process::{PAST_DEADLINE, WorkerProcess};
use kcov_proto::journal::{self, RESULT};
use kcov_proto::quota::Quota;
use kcov_proto::slot;
use kcov_proto::sync::Ordering;
use std::collections::{HashMap, VecDeque};
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};
use tracing::{info, warn};

/// Places that are remembered: what goes on beyond is a handler that changes its stack.
const MOST_PLACES: usize = 4096;
/// Artifacts that wait for their writer, each with its journal of 256 KiB.
const MOST_WAITING: usize = 16;
/// How often it is written down how often a place was seen.
const PACE: Duration = Duration::from_secs(10);
/// Sightings that one message tells of.
const MOST_SEEN: usize = 256;
/// Longest that the end of a run waits for one writer, milliseconds.
const PATIENCE: u16 = 30_000;

/// A place in the code.
#[derive(Debug)]
struct Place {
    /// Since the last time that they were written down.
    again: Option<Sightings>,
    /// Whether it has an artifact; not while that is being written, nor if there was no room.
    kept: bool,
}

/// An artifact on its way.
#[derive(Debug)]
struct Writing {
    name: String,
    journal: SharedWords,
    writer: Spawned,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Keeper {
    places: HashMap<String, Place>,
    waiting: VecDeque<(Facts, SharedWords)>,
    writing: Option<Writing>,
    told: Option<Instant>,
}

/// What is to be done about a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// It is to be written.
    New,
    /// It was seen before.
    Again,
    /// There is no room for more.
    Refused,
}

impl Keeper {
    /// Takes note of a crash.
    fn see(&mut self, name: &str, when: u64) -> Sight {
        let once = Sightings { count: 1, first: when, last: when };
        if let Some(place) = self.places.get_mut(name) {
            place.again = Some(place.again.map_or(once, |before| before.and(once)));
            return Sight::Again;
        }
        if self.places.len() >= MOST_PLACES || self.waiting.len() >= MOST_WAITING {
            return Sight::Refused;
        }
        self.places.insert(name.to_owned(), Place { again: None, kept: false });
        Sight::New
    }

    /// Takes note of what became of an artifact. Another try is worth it unless it is there. Returns how often its place
    /// was seen since it was to be written, with that time, if it is not.
    fn written(&mut self, name: &str, written: Option<Written>) -> u64 {
        match written {
            Some(Written::New | Written::Known) => {
                if let Some(place) = self.places.get_mut(name) {
                    place.kept = true;
                }
                0
            }
            Some(Written::TooMany | Written::TooLarge) | None => {
                let again = self.places.remove(name).and_then(|place| place.again);
                1 + again.map_or(0, |sightings| sightings.count)
            }
        }
    }

    /// What is to be written down of places that were seen again, as much as one message holds.
    fn take_seen(&mut self) -> Vec<Seen> {
        let again = self.places.iter_mut().filter(|(_, place)| place.kept);
        let seen = again
            .filter_map(|(name, place)| Some(Seen { name: name.clone(), sightings: place.again.take()? }));
        seen.take(MOST_SEEN).collect()
    }
}

impl Tenant {
    /// Keeps what there is of a worker that died over a call of a handler, once for each place in the code.
    pub(crate) fn keep_artifact(&mut self, worker: &mut WorkerProcess, call: &str, signal: i32) {
        if self.launch.artifacts.is_none() || self.claims.is_empty() {
            return;
        }
        let words: Vec<u64> = worker.journal.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let journal = journal::parse(&words);
        if !journal.active {
            return;
        }
        let end = match (worker.killed, signal) {
            (Some(PAST_DEADLINE), _) => End::Hang,
            (_, 0) => End::Exit(worker.end_status()),
            (_, signal) => End::Signal(signal),
        };
        let name = place::name(end, &journal, &self.modules, &self.libraries());
        let when = now();
        match self.keeper.see(&name, when) {
            Sight::Again => return,
            Sight::Refused => {
                self.counters.artifacts_refused += 1;
                warn!(event = "artifact_refused", name, "no artifact: too many come at once");
                return;
            }
            Sight::New => {}
        }
        let facts = Facts {
            name,
            end,
            tid: worker.word(slot::PID) as u32,
            call: call.to_owned(),
            devices: self.claims.devices().map(|device| device.path.clone()).collect(),
            output: worker.output.rest(),
            modules: self.modules.clone(),
            when,
        };
        match worker.journal.try_clone() {
            Ok(journal) => self.keeper.waiting.push_back((facts, journal)),
            Err(errno) => warn!(%errno, "no artifact: its journal cannot be kept"),
        }
        self.write_next_artifact();
    }

    /// Files of the handlers that are libraries.
    fn libraries(&self) -> Vec<String> {
        let arguments = self.launch.handlers.iter().map(|argument| argument.to_string_lossy());
        arguments.map(|argument| super::write::split(&argument).0.to_owned()).collect()
    }

    fn artifact_refused(&mut self, quota: Quota, name: &str, times: u64) {
        self.counters.artifacts_refused += times;
        self.counters.refusals.add(quota, times);
        info!(event = "artifact_refused", name, times, "no artifact: there is no room for more");
    }

    /// Has the next artifact written, if none is being written.
    fn write_next_artifact(&mut self) {
        if self.keeper.writing.is_some() {
            return;
        }
        let Some((facts, journal)) = self.keeper.waiting.pop_front() else { return };
        let name = facts.name.clone();
        // What the worker may have put there is none of its business.
        journal[RESULT].store(0, Ordering::Relaxed);
        let started = self.spawner.start(&Start::Artifact(Box::new(facts)), &[&journal.file()]);
        match started {
            Ok(writer) => {
                if let Err(errno) = self.poller.add_once(&writer.pidfd, Token::Artifact) {
                    warn!(%errno, "the writer of an artifact cannot be watched");
                }
                self.keeper.writing = Some(Writing { name, journal, writer });
            }
            Err(error) => {
                warn!(%error, name, "no artifact could be written");
                self.keeper.written(&name, None);
            }
        }
    }

    /// A writer has ended.
    pub(crate) fn artifact_written(&mut self) {
        let Some(Writing { name, journal, writer }) = self.keeper.writing.take() else { return };
        self.poller.remove(&writer.pidfd);
        let written = Written::from_word(journal[RESULT].load(Ordering::Acquire));
        let missed = self.keeper.written(&name, written);
        match written {
            Some(Written::New) => {
                self.counters.artifacts += 1;
                let path = self.launch.artifacts.as_ref().map(|directory| directory.join(&name));
                let path = path.unwrap_or_default().display().to_string();
                warn!(event = "artifact", name, path, "what the handler was at is kept");
            }
            Some(Written::Known) => {}
            Some(Written::TooMany) => self.artifact_refused(Quota::Artifacts, &name, missed),
            Some(Written::TooLarge) => self.artifact_refused(Quota::ArtifactBytes, &name, missed),
            None => warn!(event = "artifact_failed", name, "no artifact could be written"),
        }
        self.write_next_artifact();
    }

    /// Has it written down now and then how often places were seen.
    pub(crate) fn count_sightings(&mut self, now: Instant) {
        if self.keeper.told.is_none_or(|told| now.saturating_duration_since(told) >= PACE) {
            self.keeper.told = Some(now);
            self.tell_sightings();
        }
    }

    fn tell_sightings(&mut self) -> Option<Spawned> {
        let seen = self.keeper.take_seen();
        if seen.is_empty() {
            return None;
        }
        self.spawner.start(&Start::Sightings(seen), &[]).ok()
    }

    /// The end of the run: what is on its way arrives.
    pub(crate) fn finish_artifacts(&mut self) {
        while let Some(writing) = &self.keeper.writing {
            if !pidfd::wait_dead(writing.writer.pidfd.as_fd(), PATIENCE) {
                warn!("the writer of an artifact does not come to an end");
                return;
            }
            self.artifact_written();
        }
        while let Some(counting) = self.tell_sightings() {
            let _ = pidfd::wait_dead(counting.pidfd.as_fd(), PATIENCE);
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
        let mut keeper = Keeper::default();
        assert_eq!(keeper.see("a", 1), Sight::New);
        assert_eq!(keeper.see("a", 2), Sight::Again);
        assert!(keeper.take_seen().is_empty(), "it is not there yet");
        keeper.written("a", Some(Written::New));
        assert_eq!(keeper.see("a", 3), Sight::Again);
        let seen = keeper.take_seen();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].sightings, Sightings { count: 2, first: 2, last: 3 });
        assert!(keeper.take_seen().is_empty());
    }

    #[test]
    fn what_was_not_written_is_tried_again() {
        for written in [Some(Written::TooMany), Some(Written::TooLarge), None] {
            let mut keeper = Keeper::default();
            assert_eq!(keeper.see("a", 1), Sight::New);
            assert_eq!(keeper.see("a", 1), Sight::Again);
            assert_eq!(keeper.written("a", written), 2);
            assert_eq!(keeper.see("a", 2), Sight::New);
        }
    }

    #[test]
    fn places_are_bounded() {
        let mut keeper = Keeper::default();
        for number in 0..MOST_PLACES {
            assert_eq!(keeper.see(&number.to_string(), 1), Sight::New);
        }
        assert_eq!(keeper.see("one more", 1), Sight::Refused);
        assert_eq!(keeper.see("0", 1), Sight::Again);
    }
}
