//! The arenas of a tenant: by instance, by file, by watch; and when they are let go.

use crate::arena::Arena;
use kcov_proto::device::ArenaId;
use kcov_proto::message::FileId;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The close event comes just before the kernel's count drops: first re-check.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// An arena that somebody still has open is looked at this rarely; its next close starts anew.
const LAST_LOOK: Duration = Duration::from_millis(64);

#[derive(Debug)]
struct Entry {
    arena: Arena,
    watch: WatchDescriptor,
    /// Nothing but an owner holds the instance.
    kept: bool,
}

/// A description was closed; whether it was the last is to be seen.
#[derive(Clone, Copy, Debug)]
struct Closing {
    due: Instant,
    wait: Duration,
}

impl Closing {
    fn at(now: Instant) -> Self {
        Closing { due: now, wait: FIRST_LOOK }
    }
}

/// Arenas of one tenant, with the inotify instance that watches them.
#[derive(Debug)]
pub struct ArenaTable {
    inotify: Inotify,
    entries: HashMap<ArenaId, Entry>,
    by_file: HashMap<FileId, ArenaId>,
    by_watch: HashMap<WatchDescriptor, ArenaId>,
    closing: HashMap<ArenaId, Closing>,
    bytes: u64,
}

impl ArenaTable {
    /// An empty table.
    ///
    /// # Errors
    /// As `inotify_init1(2)`: `EMFILE` if this user has too many instances.
    pub fn new() -> Result<Self, Errno> {
        Ok(ArenaTable {
            inotify: Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?,
            entries: HashMap::new(),
            by_file: HashMap::new(),
            by_watch: HashMap::new(),
            closing: HashMap::new(),
            bytes: 0,
        })
    }

    /// Becomes readable when a description is closed.
    #[must_use]
    pub fn inotify(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }

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
        self.entries.get(&id).map(|entry| &entry.arena)
    }

    /// Takes in the arena of a new instance and watches it.
    ///
    /// # Errors
    /// As `inotify_add_watch(2)`: `ENOSPC` if this user has too many watches.
    pub fn insert(&mut self, id: ArenaId, arena: Arena) -> Result<(), Errno> {
        let path = format!("/proc/self/fd/{}", arena.file().as_raw_fd());
        let watch = self.inotify.add_watch(path.as_str(), AddWatchFlags::IN_CLOSE)?;
        self.by_file.insert(arena.identity(), id);
        self.by_watch.insert(watch, id);
        self.entries.insert(id, Entry { arena, watch, kept: false });
        Ok(())
    }

    /// A description of an arena for a caller.
    ///
    /// # Errors
    /// As [`Arena::open`]; `ENOENT` if there is no such arena.
    pub fn open(&mut self, id: ArenaId, flags: i32) -> Result<std::os::fd::OwnedFd, Errno> {
        self.entries.get_mut(&id).ok_or(Errno::ENOENT)?.arena.open(flags)
    }

    /// Makes the area of an instance.
    ///
    /// # Errors
    /// As [`Arena::size`].
    pub fn size(&mut self, id: ArenaId, words: u64) -> Result<(), Errno> {
        let arena = &mut self.entries.get_mut(&id).ok_or(Errno::ENOENT)?.arena;
        arena.size(words)?;
        self.bytes += arena.bytes();
        Ok(())
    }

    /// Forgets an arena and hands it out.
    pub fn remove(&mut self, id: ArenaId) -> Option<Arena> {
        let Entry { arena, watch, kept: _ } = self.entries.remove(&id)?;
        self.by_file.remove(&arena.identity());
        self.by_watch.remove(&watch);
        self.closing.remove(&id);
        self.bytes -= arena.bytes();
        // The watch may be gone with the last link already.
        let _ = self.inotify.rm_watch(watch);
        Some(arena)
    }

    /// Takes the close events that have come; afterwards [`due`](Self::due) names their arenas.
    pub fn read_events(&mut self, now: Instant) {
        while let Ok(events) = self.inotify.read_events() {
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    self.look_at_all(now);
                } else if event.mask.intersects(AddWatchFlags::IN_CLOSE)
                    && let Some(&id) = self.by_watch.get(&event.wd)
                    && let Some(entry) = self.entries.get_mut(&id)
                {
                    entry.arena.closed(event.mask.contains(AddWatchFlags::IN_CLOSE_WRITE));
                    self.closing.insert(id, Closing::at(now));
                }
            }
        }
    }

    /// Events were lost: any arena may be closed.
    fn look_at_all(&mut self, now: Instant) {
        for (&id, entry) in &mut self.entries {
            entry.arena.closed(false);
            self.closing.insert(id, Closing::at(now));
        }
    }

    /// A thread does not own `id` any more: if nothing else held it, it is up for a look.
    pub fn suspect(&mut self, id: ArenaId, now: Instant) {
        if self.entries.get(&id).is_some_and(|entry| entry.kept) {
            self.closing.insert(id, Closing::at(now));
        }
    }

    /// Arenas that are due for a look. Each gets a later turn, unless it is removed or kept.
    pub fn due(&mut self, now: Instant) -> Vec<ArenaId> {
        let due = self.closing.iter_mut().filter(|(_, closing)| closing.due <= now);
        due.map(|(&id, closing)| {
            *closing = Closing { due: now + closing.wait, wait: (closing.wait * 2).min(LAST_LOOK) };
            id
        })
        .collect()
    }

    /// A look showed that a thread owns the instance: its exit will put the arena up again.
    pub fn keep(&mut self, id: ArenaId) {
        self.closing.remove(&id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.kept = true;
        }
    }

    /// How long until the next look is due.
    #[must_use]
    pub fn next_look(&self, now: Instant) -> Option<Duration> {
        self.closing.values().map(|closing| closing.due.saturating_duration_since(now)).min()
    }
}
