//! Common handles of threads (`task_struct.kcov_handle`).
//!
//! A thread gets one by `REMOTE_ENABLE`, or inherits that of the thread that creates it. The broker sees a creation only
//! if the call is trapped, and never its result. So a handle is settled when it is first asked for:
//! - If the creating call was trapped, the thread gets what its creator had then.
//! - Else it gets what its creator has now, or had before a change that came after the creation. The creator of a process
//!   is in procfs. That of a thread is not: the first thread of the process stands for it.
//!
//! Of several trapped creations by one process, the latest that fits counts.

use crate::sys::procfs::{self, Stat};
use indexmap::IndexMap;
use kcov_proto::device::Tid;
use std::collections::VecDeque;

/// Most threads whose handle is remembered. The handle of a forgotten one is settled anew.
const MAX_KNOWN: usize = 4096;
/// Most creations that are remembered until the created thread asks.
const MAX_CREATIONS: usize = 1024;
/// How many parents are followed to settle a handle.
const MAX_DEPTH: u32 = 16;

/// The handle of a thread.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Start of the thread, which tells it from a later one of the same id.
    started: u64,
    handle: u64,
    /// The handle before the last change.
    before: u64,
    /// When it changed, in clock ticks after boot.
    changed: u64,
}

/// A trapped call that creates a thread or a process.
#[derive(Clone, Copy, Debug)]
struct Creation {
    creator: Tid,
    group: Tid,
    /// Whether it creates a thread, if known.
    thread: Option<bool>,
    handle: u64,
}

/// The common handles of a tenant's threads.
#[derive(Debug, Default)]
pub struct Commons {
    known: IndexMap<Tid, Known>,
    creations: VecDeque<Creation>,
    had_any: bool,
}

impl Commons {
    /// Returns whether any thread ever had a common handle.
    #[must_use]
    pub fn had_any(&self) -> bool {
        self.had_any
    }

    /// Sets the handle of `tid`; 0 clears it.
    pub fn set(&mut self, tid: Tid, handle: u64) {
        if handle == 0 && !self.had_any {
            return;
        }
        self.had_any = true;
        let before = self.settle(tid, 0).map_or(0, |known| known.handle);
        if let Some(stat) = procfs::stat(tid) {
            self.know(tid, Known { started: stat.started, handle, before, changed: procfs::ticks() });
        }
    }

    /// Returns the handle of `tid`, 0 if it has none.
    pub fn of(&mut self, tid: Tid) -> u64 {
        if self.had_any { self.settle(tid, 0).map_or(0, |known| known.handle) } else { 0 }
    }

    /// `creator` is about to create a thread or a process.
    pub fn creating(&mut self, creator: Tid, thread: Option<bool>) {
        let Some(group) = procfs::thread_group(creator) else { return };
        let handle = self.of(creator);
        if self.creations.len() >= MAX_CREATIONS {
            self.creations.pop_front();
        }
        self.creations.push_back(Creation { creator, group, thread, handle });
    }

    /// Thread `old` has exec'ed and is `new` now.
    pub fn rebind(&mut self, old: Tid, new: Tid) {
        let known = self.known.shift_remove(&old);
        self.known.shift_remove(&new);
        if let Some(known) = known
            && let Some(stat) = procfs::stat(new)
        {
            // The thread has also got the leader's start time.
            self.know(new, Known { started: stat.started, ..known });
        }
    }

    /// `tid` has exited.
    pub fn forget(&mut self, tid: Tid) {
        self.known.swap_remove(&tid);
    }

    fn know(&mut self, tid: Tid, known: Known) {
        self.known.shift_remove(&tid);
        if self.known.len() >= MAX_KNOWN {
            self.known.shift_remove_index(0);
        }
        self.known.insert(tid, known);
    }

    fn settle(&mut self, tid: Tid, depth: u32) -> Option<Known> {
        let stat = procfs::stat(tid)?;
        if let Some(known) = self.known.get(&tid).filter(|known| known.started == stat.started) {
            return Some(*known);
        }
        let handle = if depth < MAX_DEPTH { self.inherited(tid, stat, depth) } else { 0 };
        let known = Known { started: stat.started, handle, before: handle, changed: 0 };
        self.know(tid, known);
        Some(known)
    }

    fn inherited(&mut self, tid: Tid, stat: Stat, depth: u32) -> u64 {
        let Some(group) = procfs::thread_group(tid) else { return 0 };
        let is_thread = group != tid;
        let (group, creator) = match is_thread {
            true => (group, None),
            false => (stat.parent, procfs::creator(stat.parent, tid)),
        };
        if let Some(handle) = self.take_creation(group, creator, is_thread) {
            return handle;
        }
        // Process 0 is the parent of the first process of a PID namespace.
        let creator = creator.unwrap_or(group);
        match creator {
            0 => 0,
            _ => self
                .settle(creator, depth + 1)
                .map_or(0, |known| if known.changed > stat.started { known.before } else { known.handle }),
        }
    }

    /// Takes the latest creation that fits, and returns the handle that the creator had.
    fn take_creation(&mut self, group: Tid, creator: Option<Tid>, is_thread: bool) -> Option<u64> {
        let fits = |creation: &Creation, thread| {
            creation.group == group
                && creator.is_none_or(|creator| creation.creator == creator)
                && creation.thread == thread
        };
        let find = |thread| self.creations.iter().rposition(|creation| fits(creation, thread));
        let place = find(Some(is_thread)).or_else(|| find(None))?;
        self.creations.remove(place).map(|creation| creation.handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn own() -> Tid {
        nix::unistd::gettid().as_raw() as Tid
    }

    /// Runs `test` with the id of another thread of this process.
    fn with_thread(test: impl FnOnce(Tid)) {
        let (send, receive) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(own()).unwrap();
            let _ = ended.recv();
        });
        test(receive.recv().unwrap());
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn a_thread_inherits_what_its_creator_had() {
        let mut commons = Commons::default();
        assert_eq!(commons.of(own()), 0);
        commons.set(own(), 0x42);
        commons.creating(own(), None);
        commons.set(own(), 0);
        with_thread(|tid| {
            assert_eq!(commons.of(tid), 0x42);
            assert_eq!(commons.of(own()), 0);
            commons.set(own(), 0x43);
            assert_eq!(commons.of(tid), 0x42);
            commons.set(tid, 0);
            assert_eq!(commons.of(tid), 0);
        });
    }

    #[test]
    fn without_a_trapped_creation_the_first_thread_of_the_process_counts() {
        let mut commons = Commons::default();
        commons.set(std::process::id(), 0x42);
        with_thread(|tid| assert_eq!(commons.of(tid), 0x42));
    }

    #[test]
    fn a_handle_that_came_after_the_creation_is_not_inherited() {
        let mut commons = Commons::default();
        with_thread(|tid| {
            std::thread::sleep(std::time::Duration::from_millis(30));
            commons.set(std::process::id(), 0x42);
            assert_eq!(commons.of(tid), 0);
        });
    }

    #[test]
    fn a_process_inherits_from_the_thread_that_created_it() {
        let mut commons = Commons::default();
        commons.set(own(), 0x42);
        let mut child = std::process::Command::new("sleep").arg("10").spawn().unwrap();
        assert_eq!(commons.of(child.id()), 0x42);
        child.kill().unwrap();
        child.wait().unwrap();
        commons.rebind(own(), own());
    }
}
