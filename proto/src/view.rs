//! The segment in which a broker shows an operator what it does: one page of a named file, written by the broker,
//! copied by whoever may read it.
//!
//! | word | holds |
//! |---|---|
//! | [`MAGIC_AT`] | [`MAGIC`], once the rest is there |
//! | [`VERSION_AT`] | [`VERSION`]: of the words below |
//! | [`SEQUENCE`] | odd while the body changes, see [`seqlock`] |
//! | [`BODY`]... | a [`View`], word by word in the order of its fields |
//!
//! Laws:
//! - One writer, the broker, which never reads what it wrote: nothing in a segment is an input of its.
//! - A reader takes a segment for an allegation. Anybody can put a file beside the others and name it like them, so
//!   [`read`] believes no number: it allocates what a full page could need at most, and lets no byte of a name
//!   through that a terminal would act upon.
//! - A segment may outlive its broker. Its [`Identity`] tells which process that was, by what no later one shares.

mod counts;
mod name;
pub mod seqlock;

pub use counts::Counts;
pub use name::{Name, NoName};

use crate::quota::{Quota, Refusals};
use crate::sync::{AtomicU64, Ordering};
use crate::tally::{self, Tally};
use seqlock::Source;
use std::ops::Deref;

/// Bytes of a segment: one page of most machines.
pub const BYTES: usize = 4096;
/// Words of a segment.
pub const WORDS: usize = BYTES / 8;
/// See the module.
pub const MAGIC_AT: usize = 0;
/// See the module.
pub const VERSION_AT: usize = 1;
/// See the module.
pub const SEQUENCE: usize = 2;
/// See the module.
pub const BODY: usize = 8;
/// `kcovview`, as a little-endian word.
pub const MAGIC: u64 = u64::from_le_bytes(*b"kcovview");
/// Version of the layout. Another one is refused: broker and reader are of one package. What is appended, where all
/// that wrote before left zeros, needs no other one.
pub const VERSION: u64 = 3;
/// Most workers whose process ids are shown.
pub const MOST_WORKERS: usize = 32;

/// Words of a body.
const BODY_WORDS: usize =
    IDENTITY + name::WORDS + TIMES + PIDS + counts::WORDS + tally::WORDS + Quota::COUNT + 1;
const IDENTITY: usize = 5;
const TIMES: usize = 2;
const PIDS: usize = 4 + MOST_WORKERS;
const _: () = assert!(BODY + BODY_WORDS <= WORDS);

/// Which process a broker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `/proc/sys/kernel/random/boot_id`: of one start of the machine.
    pub boot: u128,
    /// Inode of its PID namespace, in which its numbers count.
    pub pid_namespace: u64,
    /// Its process id.
    pub pid: u32,
    /// When it was started, in clock ticks after boot (`/proc/PID/stat`, field 22): a process that has its number
    /// later has another one here.
    pub start: u64,
}

/// Process ids, in the broker's PID namespace; 0 for what there is not.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pids {
    /// The process that the user's shell sees, or the manager.
    pub front: u32,
    /// The tenant's subreaper.
    pub tender: u32,
    /// What workers are forked of.
    pub zygote: u32,
    /// The workers, at most [`MOST_WORKERS`] of them.
    pub workers: Vec<u32>,
}

/// All that a broker shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Which process it is.
    pub identity: Identity,
    /// Its tenant.
    pub name: Name,
    /// When the tenant was started, nanoseconds of `CLOCK_MONOTONIC`.
    pub started: u64,
    /// When this was written, on the same clock.
    pub beat: u64,
    /// Its processes.
    pub pids: Pids,
    /// What it counts.
    pub counts: Counts,
    /// What its workers count.
    pub tally: Tally,
    /// What was refused over a quota, by quota.
    pub refusals: Refusals,
    /// User of its command; `None` where a broker of before does not say.
    pub user: Option<u32>,
}

impl View {
    fn body(&self) -> impl Iterator<Item = u64> {
        let View { identity, name, started, beat, pids, counts, tally, refusals, user } = self;
        identity
            .words()
            .into_iter()
            .chain(name.words())
            .chain([*started, *beat])
            .chain(pids.words())
            .chain(counts.words())
            .chain(tally.words())
            .chain(refusals.0)
            // 0 is nobody, not root.
            .chain([user.map_or(0, |uid| u64::from(uid) + 1)])
    }

    fn from_body(body: &[u64; BODY_WORDS]) -> Result<Self, NoName> {
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
        })
    }
}

/// The next `N` words; 0 for those that are missing.
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
        let count = workers.len().min(MOST_WORKERS);
        let mut words = [0; PIDS];
        words[..4].copy_from_slice(&[(*front).into(), (*tender).into(), (*zygote).into(), count as u64]);
        words[4..].iter_mut().zip(workers).for_each(|(word, pid)| *word = (*pid).into());
        words
    }

    fn from_words(words: [u64; PIDS]) -> Self {
        let [front, tender, zygote, count, workers @ ..] = words;
        let count = usize::try_from(count).unwrap_or(MOST_WORKERS).min(MOST_WORKERS);
        Pids {
            front: front as u32,
            tender: tender as u32,
            zygote: zygote as u32,
            workers: workers[..count].iter().map(|pid| *pid as u32).collect(),
        }
    }
}

/// The one writer of a segment. `W` owns or borrows its words.
#[derive(Debug)]
pub struct Writer<W> {
    words: W,
}

impl<W: Deref<Target = [AtomicU64]>> Writer<W> {
    /// The writer of a segment of zeros; `None` if it is too short.
    pub fn new(words: W) -> Option<Self> {
        (words.len() >= WORDS).then_some(Writer { words })
    }

    /// Shows `view` in place of what was shown before.
    pub fn publish(&self, view: &View) {
        seqlock::write(&self.words[SEQUENCE], &self.words[BODY..], view.body());
        // Release: the first time, whoever sees that it is a segment finds it filled.
        self.words[VERSION_AT].store(VERSION, Ordering::Release);
        self.words[MAGIC_AT].store(MAGIC, Ordering::Release);
    }
}

/// Why a file that is named like a segment shows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError<E> {
    /// It cannot be read.
    #[error("{0}")]
    Source(#[source] E),
    /// All zeros: its broker is about to fill it.
    #[error("it is not filled yet")]
    Empty,
    /// It is something else.
    #[error("it is no segment of kcov-broker")]
    Foreign,
    /// It is of another version of this program.
    #[error("it has layout {found}, this program reads layout {VERSION}: use the kcov-broker that made it")]
    Version {
        /// The layout that it alleges.
        found: u64,
    },
    /// It kept changing, or its broker died in the middle of a change.
    #[error("it does not stand still: its broker was killed while it wrote, or it is no broker")]
    Torn,
    /// No tenant has such a name.
    #[error("its name is none: {0}")]
    Name(#[source] NoName),
}

/// Which process wrote a segment, of which nothing else can be read: it is the same in all that a broker ever shows.
///
/// # Errors
/// Those of the source.
pub fn identity<S: Source>(source: &mut S) -> Result<Identity, S::Error> {
    let mut words = [0; IDENTITY];
    source.read(BODY, &mut words)?;
    Ok(Identity::from_words(words))
}

/// Reads a segment, whole or not at all.
///
/// # Errors
/// [`ReadError`].
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
