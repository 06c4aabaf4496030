//! The arenas of a tenant, by instance and by file, and which of them no process has open any more.
//!
//! The last close of an instance makes no call that the filter traps. So the arenas are swept: a bounded number each time,
//! in turn, so that each is looked at every tenth of a second even among thousands. An inotify watch would report closes
//! at once, but its event comes before the kernel's counts drop, so the look is needed anyway.
//!
//! A watch reports something else: that the tenant opened the file of an arena again, through procfs. Such a description is
//! a fresh open of the device. Without a watch (a user has a limited number) it counts as one of the instance.

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
/// Every arena is looked at within this many sweeps,
const ROUND: usize = 5;
/// unless that takes more than this many looks a sweep, of about 2 microseconds each.
const MOST_LOOKS: usize = 1024;

/// An arena in the table.
#[derive(Debug)]
struct Entry {
    arena: Arena,
    watch: Option<WatchDescriptor>,
    /// The tenant may have opened the file again.
    is_reopened: bool,
}

impl Entry {
    /// Notes an event of its watch, or that events were lost.
    fn note(&mut self, events: AddWatchFlags) {
        let overflow = events.contains(AddWatchFlags::IN_Q_OVERFLOW);
        self.is_reopened |= overflow || events.contains(AddWatchFlags::IN_OPEN);
        if overflow || events.contains(AddWatchFlags::IN_CLOSE_NOWRITE) {
            self.arena.uncounted_closed();
        }
    }
}

/// Arenas of one tenant.
#[derive(Debug, Default)]
pub struct ArenaTable {
    arenas: IndexMap<ArenaId, Entry>,
    by_file: HashMap<FileId, ArenaId>,
    /// Where the next sweep starts.
    cursor: usize,
    bytes: u64,
    /// Made when it is first needed.
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
        self.arenas.get(&id).map(|entry| &entry.arena)
    }

    /// An arena.
    pub fn get_mut(&mut self, id: ArenaId) -> Option<&mut Arena> {
        self.arenas.get_mut(&id).map(|entry| &mut entry.arena)
    }

    /// Adds the arena of a new instance, whose first description is made.
    ///
    /// # Errors
    /// As `inotify_init1(2)` and `inotify_add_watch(2)`, for a description of access mode 3, whose close shows by a watch
    /// only.
    pub fn insert(&mut self, id: ArenaId, arena: Arena) -> Result<(), Errno> {
        let watch = match self.watch(&arena) {
            Ok(watch) => Some(watch),
            Err(errno) if arena.is_uncounted() => return Err(errno),
            Err(_) => None,
        };
        if let Some(watch) = watch {
            self.by_watch.insert(watch, id);
        }
        self.by_file.insert(arena.identity(), id);
        self.bytes += arena.bytes();
        self.arenas.insert(id, Entry { arena, watch, is_reopened: false });
        Ok(())
    }

    fn watch(&mut self, arena: &Arena) -> Result<WatchDescriptor, Errno> {
        let mut events = AddWatchFlags::IN_OPEN;
        if arena.is_uncounted() {
            events |= AddWatchFlags::IN_CLOSE_NOWRITE;
        }
        let path = format!("/proc/self/fd/{}", arena.file().as_raw_fd());
        self.inotify()?.add_watch(path.as_str(), events)
    }

    fn inotify(&mut self) -> Result<&Inotify, Errno> {
        if let Some(ref inotify) = self.inotify {
            return Ok(inotify);
        }
        let made = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(self.inotify.insert(made))
    }

    /// Whether the tenant may have opened the file of an arena again.
    pub fn is_reopened(&mut self, id: ArenaId) -> bool {
        self.read_events();
        self.arenas.get(&id).is_some_and(|entry| entry.is_reopened)
    }

    /// Removes an arena and returns it.
    pub fn remove(&mut self, id: ArenaId) -> Option<Arena> {
        let Entry { arena, watch, .. } = self.arenas.swap_remove(&id)?;
        self.by_file.remove(&arena.identity());
        if let (Some(watch), Some(inotify)) = (watch, &self.inotify)
            && self.by_watch.remove(&watch).is_some()
        {
            // It is gone already if the file is.
            let _ = inotify.rm_watch(watch);
        }
        self.bytes -= arena.bytes();
        Some(arena)
    }

    /// Takes the events that have come.
    fn read_events(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        while let Ok(events) = inotify.read_events() {
            for event in events {
                let ids: Vec<ArenaId> = match event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    true => self.arenas.keys().copied().collect(),
                    false => self.by_watch.get(&event.wd).copied().into_iter().collect(),
                };
                for id in ids {
                    if let Some(entry) = self.arenas.get_mut(&id) {
                        entry.note(event.mask);
                    }
                }
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.by_watch.remove(&event.wd);
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
        self.read_events();
        let count = self.arenas.len();
        let mut released = Vec::new();
        for _ in 0..looks.min(count) {
            self.cursor = if self.cursor + 1 < count { self.cursor + 1 } else { 0 };
            if let Some((&id, entry)) = self.arenas.get_index(self.cursor)
                // In use, or unknown: the next look will tell.
                && entry.arena.is_released() == Ok(true)
            {
                released.push(id);
            }
        }
        released
    }

    /// Whether there is nothing to sweep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arenas.is_empty()
    }
}
