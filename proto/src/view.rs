//! The page in which a broker publishes its counters: a named shared-memory file that the broker writes, and
//! `kcov-broker top` or any other reader copies.
//!
//! | word | holds |
//! |---|---|
//! | [`MAGIC_AT`] | [`MAGIC`], stored last |
//! | [`VERSION_AT`] | [`VERSION`] of the layout below |
//! | [`SEQUENCE`] | odd while the body changes, see [`seqlock`] |
//! | [`BODY`]... | a [`View`], word by word in the order of its fields |
//!
//! Rules:
//! - One writer, the broker. It never reads back what it wrote, so nothing in a segment is an input to it.
//! - A reader treats a segment as untrusted: any local user can create a file with such a name. [`read`]
//!   copies a fixed number of words, checks every length, and accepts only visible ASCII in a name, so that
//!   it is safe to print on a terminal.
//! - A segment may outlive its broker. Its [`Identity`] names that process so that no later process matches
//!   it.

mod counts;
mod name;
pub mod seqlock;

pub use counts::Counts;
pub use name::{InvalidName, Name};

use crate::quota::{Quota, Refusals};
use crate::sections::{self, Sections};
use crate::sync::{AtomicU64, Ordering};
use crate::tally::{self, Tally};
use seqlock::Source;
use std::ops::Deref;

/// Size of a segment in bytes: one page on most machines.
pub const BYTES: usize = 4096;
/// Size of a segment in words.
pub const WORDS: usize = BYTES / 8;
/// Index of the word with the magic number.
pub const MAGIC_AT: usize = 0;
/// Index of the word with the layout version.
pub const VERSION_AT: usize = 1;
/// Index of the sequence word.
pub const SEQUENCE: usize = 2;
/// Index of the first word of the body.
pub const BODY: usize = 8;
/// `kcovview` as a little-endian word.
pub const MAGIC: u64 = u64::from_le_bytes(*b"kcovview");
/// Version of the layout. Readers refuse any other: broker and reader come from one package. Fields appended
/// at the end, where older writers left zeros, need no new version.
pub const VERSION: u64 = 4;
/// Most workers whose process ids are shown.
pub const MAX_WORKERS: usize = 32;

/// Size of a body in words.
const BODY_WORDS: usize =
    IDENTITY + name::WORDS + TIMES + PIDS + counts::WORDS + tally::WORDS + Quota::COUNT + 1 + sections::WORDS;
const IDENTITY: usize = 5;
const TIMES: usize = 2;
const PIDS: usize = 4 + MAX_WORKERS;
const _: () = assert!(BODY + BODY_WORDS <= WORDS);

/// Identifies the process of a broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`: identifies one boot of the machine.
    pub boot: u128,
    /// Inode of the broker's PID namespace, to which [`pid`](Self::pid) belongs.
    pub pid_namespace: u64,
    /// Process id of the broker.
    pub pid: u32,
    /// Start time of the broker in clock ticks after boot (`/proc/PID/stat`, field 22). It differs for a
    /// later process with the same id.
    pub start: u64,
}

/// Process ids in the broker's PID namespace; 0 for a process that does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pids {
    /// The process that the user's shell sees, or the manager.
    pub front: u32,
    /// The tenant's subreaper.
    pub tender: u32,
    /// The process that workers are forked from.
    pub zygote: u32,
    /// The workers, at most [`MAX_WORKERS`].
    pub workers: Vec<u32>,
}

/// Everything that a broker publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The broker's process.
    pub identity: Identity,
    /// Name of the tenant.
    pub name: Name,
    /// Time at which the tenant was started: nanoseconds of `CLOCK_MONOTONIC`.
    pub started: u64,
    /// Time of this update, on the same clock.
    pub beat: u64,
    /// Processes of the tenant.
    pub pids: Pids,
    /// Counters of the broker.
    pub counts: Counts,
    /// Sums of the workers' counters.
    pub tally: Tally,
    /// How often each quota was exceeded.
    pub refusals: Refusals,
    /// User id of the tenant's command; `None` if the broker is too old to publish it.
    pub user: Option<u32>,
    /// Remote sections.
    pub sections: Sections,
}

impl View {
    fn body(&self) -> impl Iterator<Item = u64> {
        let View { identity, name, started, beat, pids, counts, tally, refusals, user, sections } = self;
        identity
            .words()
            .into_iter()
            .chain(name.words())
            .chain([*started, *beat])
            .chain(pids.words())
            .chain(counts.words())
            .chain(tally.words())
            .chain(refusals.0)
            // Stored as uid + 1, so that 0 means "not published" and not root.
            .chain([user.map_or(0, |uid| u64::from(uid) + 1)])
            .chain(sections.words())
    }

    fn from_body(body: &[u64; BODY_WORDS]) -> Result<Self, InvalidName> {
        let mut rest = &body[..];
        Ok(View {
            identity: Identity::from_words(take(&mut rest)),
            name: Name::from_words(&take(&mut rest))?,
            started: take::<1>(&mut rest)[0],
            beat: take::<1>(&mut rest)[0],
            pids: Pids::from_words(take(&mut rest)),
            counts: Counts::from_words(take(&mut rest)),
            tally: Tally::from_words(&take::<{ tally::WORDS }>(&mut rest)),
            refusals: Refusals(take(&mut rest)),
            user: take::<1>(&mut rest)[0].checked_sub(1).and_then(|uid| u32::try_from(uid).ok()),
            sections: Sections::from_words(take(&mut rest)),
        })
    }
}

/// Takes the next `N` words; missing ones are 0.
fn take<const N: usize>(rest: &mut &[u64]) -> [u64; N] {
    let (words, left) = rest.split_at(N.min(rest.len()));
    *rest = left;
    std::array::from_fn(|at| words.get(at).copied().unwrap_or_default())
}

impl Identity {
    fn words(&self) -> [u64; IDENTITY] {
        let Identity { boot, pid_namespace, pid, start } = *self;
        [boot as u64, (boot >> 64) as u64, pid_namespace, pid.into(), start]
    }

    fn from_words([low, high, pid_namespace, pid, start]: [u64; IDENTITY]) -> Self {
        Identity { boot: u128::from(high) << 64 | u128::from(low), pid_namespace, pid: pid as u32, start }
    }
}

impl Pids {
    fn words(&self) -> [u64; PIDS] {
        let Pids { front, tender, zygote, workers } = self;
        let count = workers.len().min(MAX_WORKERS);
        let mut words = [0; PIDS];
        words[..4].copy_from_slice(&[(*front).into(), (*tender).into(), (*zygote).into(), count as u64]);
        words[4..].iter_mut().zip(workers).for_each(|(word, pid)| *word = (*pid).into());
        words
    }

    fn from_words(words: [u64; PIDS]) -> Self {
        let [front, tender, zygote, count, workers @ ..] = words;
        let count = usize::try_from(count).unwrap_or(MAX_WORKERS).min(MAX_WORKERS);
        Pids {
            front: front as u32,
            tender: tender as u32,
            zygote: zygote as u32,
            workers: workers[..count].iter().map(|pid| *pid as u32).collect(),
        }
    }
}

/// The only writer of a segment. `W` owns or borrows its words.
#[derive(Debug)]
pub struct ViewWriter<W> {
    words: W,
}

impl<W: Deref<Target = [AtomicU64]>> ViewWriter<W> {
    /// Wraps the words of an all-zero segment. Returns `None` if there are fewer than [`WORDS`].
    pub fn new(words: W) -> Option<Self> {
        (words.len() >= WORDS).then_some(ViewWriter { words })
    }

    /// Replaces the published view.
    pub fn publish(&self, view: &View) {
        seqlock::write(&self.words[SEQUENCE], &self.words[BODY..], view.body());
        // Release: a reader that finds the magic number also finds the first view.
        self.words[VERSION_AT].store(VERSION, Ordering::Release);
        self.words[MAGIC_AT].store(MAGIC, Ordering::Release);
    }
}

/// Why no view can be read from a file with the name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// The file cannot be read.
    #[error("{0}")]
    Source(#[source] E),
    /// The segment is all zeros: its broker has not published a view yet.
    #[error("not filled yet")]
    Empty,
    /// The file is not a segment.
    #[error("not a segment of kcov-broker")]
    Foreign,
    /// The segment has the layout of another version of this program.
    #[error("has layout {found}, but this program reads layout {VERSION}: use the kcov-broker that made it")]
    Version {
        /// Version found in the segment.
        found: u64,
    },
    /// The segment kept changing, or its broker died during a change.
    #[error("keeps changing: its broker was killed during an update, or it is not a broker")]
    Torn,
    /// The name of the tenant is invalid.
    #[error("invalid tenant name: {0}")]
    Name(#[source] InvalidName),
}

/// Reads only the identity. A broker never changes it, so this works when [`read`] fails.
///
/// # Errors
/// Errors of the source.
pub fn identity<S: Source>(source: &mut S) -> Result<Identity, S::Error> {
    let mut words = [0; IDENTITY];
    source.read(BODY, &mut words)?;
    Ok(Identity::from_words(words))
}

/// Reads a consistent copy of the whole view.
///
/// # Errors
/// [`ReadError`] if the segment cannot be read, is not one, has another layout, or does not stop changing.
pub fn read<S: Source>(source: &mut S) -> Result<View, ReadError<S::Error>> {
    let mut head = [0; 2];
    source.read(MAGIC_AT, &mut head).map_err(ReadError::Source)?;
    match head {
        [0, _] => return Err(ReadError::Empty),
        [MAGIC, VERSION] => {}
        [MAGIC, found] => return Err(ReadError::Version { found }),
        _ => return Err(ReadError::Foreign),
    }
    let mut body = [0; BODY_WORDS];
    match seqlock::read(source, SEQUENCE, BODY, &mut body) {
        Ok(true) => View::from_body(&body).map_err(ReadError::Name),
        Ok(false) => Err(ReadError::Torn),
        Err(error) => Err(ReadError::Source(error)),
    }
}
