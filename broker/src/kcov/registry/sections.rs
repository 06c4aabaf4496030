//! Remote sections, and the common handles by which handlers find their target.
//!
//! A section is a matter of its worker until it stops. The worker then asks whether its records may be appended, and the
//! broker compares the sequence of the instance with that of the start. Between the broker's grant and the worker's report
//! the broker serves no other request (`Worker::await_report`), so no `DISABLE` or release comes between. That is the
//! spinlock of the kernel's `kcov_remote_stop`.

use super::Registry;
use kcov_proto::Errno;
use kcov_proto::abi::{self, RemoteArg, TraceMode};
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
        let Armed { arena, mode, words } = self.device.armed(tid)?;
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
        if let Some(owner) = self.device.owner(arena)
            && !self.is_in_exec(owner)
            && self.threads.is_exiting(owner)
        {
            self.owner_exit(owner);
        }
        let is_current = self.device.sequence(arena) == Some(sequence);
        if !is_current {
            let reason = self.ended.get(&arena).copied().unwrap_or(DropReason::Released);
            self.sections.dropped.count(reason);
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

    /// Changes the common handle of `caller` after its `REMOTE_ENABLE`: a failure on a handle clears it, as the kernel's
    /// `kcov_disable` does.
    pub(super) fn follow_remote_enable(
        &mut self,
        id: ArenaId,
        caller: Tid,
        arg: &RemoteArg,
        enabled: Result<TraceMode, Errno>,
    ) {
        match enabled {
            Ok(_) if arg.common_handle != 0 => self.set_common(caller, arg.common_handle),
            // Inherited ones stay. They are settled now, since the parent may change.
            Ok(_) => drop(self.commons.of(caller)),
            Err(errno) if self.failed_on_handle(id, arg, errno) => self.set_common(caller, 0),
            Err(_) => {}
        }
    }

    /// Returns whether `REMOTE_ENABLE` came as far as its handles before it failed.
    fn failed_on_handle(&self, id: ArenaId, arg: &RemoteArg, errno: Errno) -> bool {
        let is_invalid = || {
            arg.handles.iter().any(|&handle| !abi::is_global_handle(handle))
                || arg.common_handle != 0 && !abi::is_common_handle(arg.common_handle)
        };
        match errno {
            Errno::EEXIST | Errno::ENOMEM => true,
            // The state of the instance and the mode are checked first.
            Errno::EINVAL => {
                let is_ready = self.device.words(id).is_some() && self.device.owner(id).is_none();
                is_ready && TraceMode::from_arg(u64::from(arg.trace_mode)).is_ok() && is_invalid()
            }
            _ => false,
        }
    }

    pub(super) fn set_common(&mut self, tid: Tid, handle: u64) {
        self.commons.set(tid, handle);
        self.show_counts();
    }
}
