//! What a service has at hand while it serves one call.

use crate::arenas::Arenas;
use crate::assist::{AssistError, Assistants};
use crate::call::Call;
use crate::record::Recorded;
use crate::service::Outcome;
use crate::sys::shared::SharedWords;
use kcov_proto::area::Area;
use kcov_proto::device::ArenaId;
use kcov_proto::journal::{Event, JournalWriter};
use kcov_proto::message::{AssistKind, AssistReply, ReaderKind};
use kcov_proto::roster::{Roster, RosterEntry};
use kcov_proto::slot::{self, Kind};
use kcov_proto::sync::Ordering;
use kcov_proto::{Errno, latency, roster};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// The shared memory, sockets and mappings of a worker.
#[derive(Debug)]
pub struct Context {
    slot: SharedWords,
    roster: SharedWords,
    assistants: Assistants,
    arenas: Arenas,
    journal: Option<JournalWriter<SharedWords>>,
}

impl Context {
    /// Over the shared memory and the sockets that the worker was given.
    #[must_use]
    pub fn new(slot: SharedWords, roster: SharedWords, assistants: Assistants) -> Self {
        debug_assert_eq!(roster.len(), roster::WORDS);
        Context { slot, roster, assistants, arenas: Arenas::default(), journal: None }
    }

    /// With a journal of what handlers do.
    #[must_use]
    pub fn with_journal(self, journal: Option<JournalWriter<SharedWords>>) -> Self {
        Context { journal, ..self }
    }

    /// Writes into the journal, if there is one.
    pub fn note(&self, event: impl FnOnce() -> Event) {
        if let Some(journal) = &self.journal {
            journal.append(&event());
        }
    }

    /// Writes into the journal what a handler has read.
    pub fn note_read(&self, address: u64, bytes: &[u8]) {
        if let Some(journal) = &self.journal {
            journal.append_read(address, bytes);
        }
    }

    /// The handler is done with what was noted last.
    pub fn note_end(&self) {
        if let Some(journal) = &self.journal {
            journal.finished();
        }
    }

    /// The slot.
    #[must_use]
    pub fn slot(&self) -> &SharedWords {
        &self.slot
    }

    /// The roster.
    #[must_use]
    pub fn roster(&self) -> Option<Roster<'_>> {
        Roster::new(&self.roster)
    }

    /// What the roster says of the caller, once it is settled who is who after an `execve`.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn line(&mut self, call: &Call) -> Result<RosterEntry, AssistError> {
        let line = self.find(call.tid);
        if !line.settle {
            return Ok(line);
        }
        self.ask(call, AssistKind::Settle)?;
        Ok(self.find(call.tid))
    }

    fn find(&self, tid: u32) -> RosterEntry {
        self.roster().map(|roster| roster.find(tid)).unwrap_or_default()
    }

    /// The words of an area, mapped; `None` if it is gone already.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn area(&mut self, call: &Call, id: ArenaId) -> Result<Option<Rc<SharedWords>>, AssistError> {
        if let Some(area) = self.arenas.get(id) {
            return Ok(Some(area));
        }
        self.ask(call, AssistKind::Arena(id))?;
        Ok(self.arenas.get(id))
    }

    /// Adds records stored and lost to the slot's counts.
    pub fn count(&self, Recorded { stored, lost }: Recorded) {
        self.add(slot::RECORDS, stored);
        self.add(slot::LOST, lost);
    }

    /// Shows that `call` may be handled once more from its beginning, should this worker die now; or that none may.
    pub fn set_repeatable(&self, call: Option<&Call>) {
        self.slot[slot::REPEATABLE].store(call.map_or(0, |call| call.id), Ordering::Relaxed);
    }

    /// Counts a notification of this kind.
    pub fn count_kind(&self, kind: Kind) {
        self.add(slot::KINDS + kind as usize, 1);
    }

    /// It was of another kind after all.
    pub fn discount_kind(&self, kind: Kind) {
        self.add(slot::KINDS + kind as usize, u64::MAX);
    }

    /// Counts a notification that took `nanoseconds`.
    pub fn count_time(&self, nanoseconds: u64) {
        self.add(slot::LATENCY_SUM, nanoseconds);
        self.add(slot::LATENCY + latency::bucket(nanoseconds), 1);
    }

    fn add(&self, word: usize, more: u64) {
        // One writer: no read-modify-write needed.
        let before = self.slot[word].load(Ordering::Relaxed);
        self.slot[word].store(before.wrapping_add(more), Ordering::Relaxed);
    }

    /// Sets the count of an area to 0.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn reset(&mut self, call: &Call, id: ArenaId) -> Result<(), AssistError> {
        if let Some(area) = self.area(call, id)?.as_deref().and_then(|words| Area::new(words)) {
            area.reset();
        }
        Ok(())
    }

    /// Leaves the call to the broker, which answers it.
    ///
    /// # Errors
    /// If it is gone.
    pub fn leave(&mut self, call: &Call, what: AssistKind) -> Result<Outcome, AssistError> {
        self.assistants.leave(call, what)
    }

    /// Asks the broker.
    ///
    /// # Errors
    /// If it is gone.
    pub fn ask(&mut self, call: &Call, what: AssistKind) -> Result<AssistReply, AssistError> {
        self.assistants.ask(call, what, &mut self.arenas, &self.slot)
    }

    /// Bytes of the caller's memory, all or nothing; the inner error is the caller's.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn memory(
        &mut self,
        call: &Call,
        address: u64,
        length: u32,
    ) -> Result<Result<Vec<u8>, Errno>, AssistError> {
        self.assistants.memory(call, address, length, &self.slot)
    }

    /// Writes to the caller's memory; the inner error is the caller's.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn write(
        &mut self,
        call: &Call,
        address: u64,
        bytes: &[u8],
    ) -> Result<Result<(), Errno>, AssistError> {
        self.assistants.write(call, address, bytes, &self.slot)
    }

    /// Gives the caller a descriptor of `file`, whose number is what the call returns.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn inject(
        &mut self,
        call: &Call,
        file: &OwnedFd,
        close_on_exec: bool,
    ) -> Result<Outcome, AssistError> {
        self.assistants.inject(call, file.as_fd(), close_on_exec)
    }

    /// Leaves a call whose arguments are in memory to the reader, which sees that it is answered.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn leave_to_reader(&mut self, call: &Call, what: ReaderKind) -> Result<Outcome, AssistError> {
        self.assistants.leave_to_reader(call, what, &self.slot)
    }
}
