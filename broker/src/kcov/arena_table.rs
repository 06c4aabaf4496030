//! The arenas of a tenant, by instance and by file; and which of them nobody has open any more.
//!
//! The last close of an instance makes no call that the filter sees, so the arenas are swept: a bounded number each
//! time, in turn, so that one is looked at every tenth of a second even among thousands. An inotify watch on each arena
//! would tell at once, but costs three times what the look costs, counts against a limit that a tenant of the same user
//! can exhaust, and still needs the look, as its event comes before the kernel's counts drop. It is kept for the one
//! kind of description that the look cannot see.

use crate::kcov::arena::Arena;
use indexmap::IndexMap;
use kcov_proto::device::ArenaId;
use kcov_proto::message::FileId;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Time between two sweeps.
pub const SWEEP: Duration = Duration::from_millis(20);
/// Every arena has its turn within this many sweeps,
const ROUND: usize = 5;
/// unless that were more than this many looks a sweep, of some 2 microseconds each.
const MOST_LOOKS: usize = 1024;

/// Arenas of one tenant.
#[derive(Debug, Default)]
pub struct ArenaTable {
    arenas: IndexMap<ArenaId, Arena>,
    by_file: HashMap<FileId, ArenaId>,
    /// Where the next sweep starts.
    cursor: usize,
    bytes: u64,
    /// Made when it is first needed: a user has few, and other programs of his may have taken them all.
    inotify: Option<Inotify>,
    by_watch: HashMap<WatchDescriptor, ArenaId>,
}

impl ArenaTable {
    /// Bytes of all areas.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The instance behind a file.
    #[must_use]
    pub fn find(&self, file: FileId) -> Option<ArenaId> {
        self.by_file.get(&file).copied()
    }

    /// An arena.
    #[must_use]
    pub fn get(&self, id: ArenaId) -> Option<&Arena> {
        self.arenas.get(&id)
    }

    /// Takes in the arena of a new instance.
    ///
    /// # Errors
    /// As `inotify_init1(2)` and `inotify_add_watch(2)`, if it has a description that counts neither as reader nor as writer.
    pub fn insert(&mut self, id: ArenaId, arena: Arena) -> Result<(), Errno> {
        if arena.is_uncounted() {
            let path = format!("/proc/self/fd/{}", arena.file().as_raw_fd());
            let watch = self.inotify()?.add_watch(path.as_str(), AddWatchFlags::IN_CLOSE_NOWRITE)?;
            self.by_watch.insert(watch, id);
        }
        self.by_file.insert(arena.identity(), id);
        self.arenas.insert(id, arena);
        Ok(())
    }

    fn inotify(&mut self) -> Result<&Inotify, Errno> {
        if let Some(ref inotify) = self.inotify {
            return Ok(inotify);
        }
        let made = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(self.inotify.insert(made))
    }

    /// Makes the area of an instance.
    ///
    /// # Errors
    /// As [`Arena::size`].
    pub fn size(&mut self, id: ArenaId, words: u64) -> Result<(), Errno> {
        let arena = self.arenas.get_mut(&id).ok_or(Errno::ENOENT)?;
        arena.size(words)?;
        self.bytes += arena.bytes();
        Ok(())
    }

    /// Forgets an arena and hands it out.
    pub fn remove(&mut self, id: ArenaId) -> Option<Arena> {
        let arena = self.arenas.swap_remove(&id)?;
        self.by_file.remove(&arena.identity());
        self.bytes -= arena.bytes();
        Some(arena)
    }

    /// Takes the close events that have come.
    fn read_events(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        while let Ok(events) = inotify.read_events() {
            for event in events {
                let closed: Vec<ArenaId> = if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    self.by_watch.values().copied().collect()
                } else {
                    self.by_watch.get(&event.wd).copied().into_iter().collect()
                };
                for id in closed {
                    if let Some(arena) = self.arenas.get_mut(&id) {
                        arena.uncounted_closed();
                    }
                }
                if self.by_watch.remove(&event.wd).is_some() {
                    // It is gone with the file if that is.
                    let _ = inotify.rm_watch(event.wd);
                }
            }
        }
    }

    /// How many arenas one sweep looks at.
    #[must_use]
    pub fn turn(&self) -> usize {
        self.arenas.len().div_ceil(ROUND).min(MOST_LOOKS)
    }

    /// Those among the next `looks` arenas that the tenant has no description and no mapping of.
    pub fn released(&mut self, looks: usize) -> Vec<ArenaId> {
        if !self.by_watch.is_empty() {
            self.read_events();
        }
        let count = self.arenas.len();
        let mut released = Vec::new();
        for _ in 0..looks.min(count) {
            self.cursor = if self.cursor + 1 < count { self.cursor + 1 } else { 0 };
            if let Some((&id, arena)) = self.arenas.get_index(self.cursor)
                // In use, or unknown: the next look tells.
                && arena.is_released() == Ok(true)
            {
                released.push(id);
            }
        }
        released
    }

    /// Whether there is anything to sweep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arenas.is_empty()
    }
}
