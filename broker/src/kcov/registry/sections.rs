//! Remote sections, and the common handles by which handlers find their target.
//!
//! A section is a matter of its worker until it stops. The worker then asks whether its records may be appended, and the
//! broker compares the sequence of the instance with that of the start. Between the broker's grant and the worker's report
//! the broker serves no other request (`Worker::await_report`), so no `DISABLE` or release comes between. That is the
//! spinlock of the kernel's `kcov_remote_stop`.

use super::Registry;
use kcov_proto::abi;
use kcov_proto::device::{ArenaId, Armed, RemoteTarget, Tid};
use kcov_proto::sections::{DropReason, Sections};

impl Registry {
    /// The counts of remote sections.
    #[must_use]
    pub fn sections(&self) -> Sections {
        self.sections
    }

    /// Starts a section: returns what the handle refers to, if it is in use.
    pub fn start_section(&mut self, handle: u64) -> Option<RemoteTarget> {
        let target = self.device.remote(handle)?;
        self.sections.started += 1;
        Some(target)
    }

    /// Where the calls of `tid` are recorded, as the target of a section: for handler code that runs after its call.
    pub fn target_of(&mut self, tid: Tid) -> Option<RemoteTarget> {
        /// A buffer of any size is bounded by that of the area.
        const UNBOUNDED: u32 = abi::AREA_WORDS_MAX as u32;
        let Armed { arena, mode, words, bitmap, shared } = self.device.armed(tid)?;
        if bitmap > 0 || shared {
            // A merge knows neither bitmaps nor other writers.
            return None;
        }
        let sequence = self.device.sequence(arena)?;
        self.sections.started += 1;
        Some(RemoteTarget { arena, mode, words, area_size: UNBOUNDED, sequence })
    }

    /// Publishes how many files of handlers' devices are open.
    pub fn show_files(&mut self, files: usize) {
        self.roster.count_files(files);
    }

    /// Stops a section that was started when the instance had this sequence. Returns whether its records may be appended.
    pub fn stop_section(&mut self, arena: ArenaId, sequence: u64) -> bool {
        for owner in self.device.owners_of(arena).to_vec() {
            if !self.is_in_exec(owner) && self.threads.is_exiting(owner) {
                self.owner_exit(owner);
            }
        }
        let is_current = self.device.sequence(arena) == Some(sequence);
        if !is_current {
            self.sections.dropped.count(self.drop_reason(arena, sequence));
        }
        is_current
    }

    /// The records of a section were appended, and for others there was no room.
    pub fn section_appended(&mut self, stored: u64, lost: u64) {
        self.sections.records = self.sections.records.saturating_add(stored);
        self.sections.lost = self.sections.lost.saturating_add(lost);
        if stored == 0 {
            self.sections.dropped.count(DropReason::Full);
        }
    }

    /// There was no memory for the buffer of a section.
    pub fn section_unbuffered(&mut self) {
        self.sections.dropped.count(DropReason::Memory);
    }

    /// The common handle of a thread, 0 if it has none.
    pub fn common_handle(&mut self, tid: Tid) -> u64 {
        self.settle_caller(tid);
        self.commons.of(tid)
    }

    /// A thread is about to create a thread or a process.
    pub fn creating(&mut self, tid: Tid, thread: Option<bool>) {
        self.commons.creating(tid, thread);
    }

    /// Runs a request of `caller` that may change its common handle. The device knows the rules of that, but not what the
    /// thread has inherited.
    pub(super) fn with_common<T>(&mut self, caller: Tid, request: impl FnOnce(&mut Self) -> T) -> T {
        let inherited = self.commons.of(caller);
        self.device.inherit_common_handle(caller, inherited);
        let answer = request(self);
        let handle = self.device.common_handle(caller);
        self.device.clear_common_handle(caller);
        if handle != inherited {
            self.commons.set(caller, handle);
            self.show_counts();
        }
        answer
    }

    /// Notes that an instance was disabled, to tell why a section is dropped.
    pub(super) fn note_disabled(&mut self, id: ArenaId) {
        if let Some(sequence) = self.device.sequence(id) {
            self.disabled.insert(id, sequence);
        }
    }

    /// Why a section is dropped that was started when the instance had this sequence.
    fn drop_reason(&self, arena: ArenaId, sequence: u64) -> DropReason {
        match self.device.sequence(arena) {
            None => DropReason::Released,
            Some(_) if self.disabled.get(&arena).is_some_and(|&disabled| disabled > sequence) => {
                DropReason::Disabled
            }
            Some(_) => DropReason::Exited,
        }
    }
}
