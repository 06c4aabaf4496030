//! What a service can use while it serves a call: shared memory, sockets and counters.

use crate::arenas::Arenas;
use crate::assist::{AssistError, Assistants};
use crate::call::Call;
use crate::record::Recorded;
use crate::service::Outcome;
use crate::sys::shared::SharedWords;
use kcov_proto::device::ArenaId;
use kcov_proto::journal::{Event, JournalWriter};
use kcov_proto::message::{ReaderKind, Reply, RequestKind, ResetTrace};
use kcov_proto::roster::{Roster, RosterEntry};
use kcov_proto::slot::{self, Kind};
use kcov_proto::sync::Ordering;
use kcov_proto::unique::Trace;
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
    /// A context without a journal.
    #[must_use]
    pub fn new(slot: SharedWords, roster: SharedWords, assistants: Assistants) -> Self {
        debug_assert_eq!(roster.len(), roster::WORDS);
        Context { slot, roster, assistants, arenas: Arenas::default(), journal: None }
    }

    /// Adds a journal of what handlers do.
    #[must_use]
    pub fn with_journal(self, journal: Option<JournalWriter<SharedWords>>) -> Self {
        Context { journal, ..self }
    }

    /// Appends an event to the journal, if there is one. The event is only built then.
    pub fn note(&self, event: impl FnOnce() -> Event) {
        if let Some(journal) = &self.journal {
            journal.append(&event());
        }
    }

    /// Appends to the journal what a handler has read.
    pub fn note_read(&self, address: u64, bytes: &[u8]) {
        if let Some(journal) = &self.journal {
            journal.append_read(address, bytes);
        }
    }

    /// Notes in the journal that the handler has finished the last event.
    pub fn note_end(&self) {
        if let Some(journal) = &self.journal {
            journal.finished();
        }
    }

    /// The slot of this worker.
    #[must_use]
    pub fn slot(&self) -> &SharedWords {
        &self.slot
    }

    /// The roster of the tenant. `None` only if its mapping has the wrong size.
    #[must_use]
    pub fn roster(&self) -> Option<Roster<'_>> {
        Roster::new(&self.roster)
    }

    /// The roster entry of the caller. If an `execve` may have changed who the thread is, asks the broker to
    /// settle that first.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn roster_entry(&mut self, call: &Call) -> Result<RosterEntry, AssistError> {
        let entry = self.find(call.tid);
        if !entry.settle {
            return Ok(entry);
        }
        self.ask(call, RequestKind::Settle)?;
        Ok(self.find(call.tid))
    }

    fn find(&self, tid: u32) -> RosterEntry {
        self.roster().map(|roster| roster.find(tid)).unwrap_or_default()
    }

    /// The mapped words of an area; `None` if it no longer exists.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn area(&mut self, call: &Call, id: ArenaId) -> Result<Option<Rc<SharedWords>>, AssistError> {
        if let Some(area) = self.arenas.get(id) {
            return Ok(Some(area));
        }
        self.ask(call, RequestKind::Arena(id))?;
        Ok(self.arenas.get(id))
    }

    /// Adds to the counts of stored, lost and suppressed records.
    pub fn count(&self, Recorded { stored, lost, suppressed }: Recorded) {
        self.add(slot::RECORDS, stored);
        self.add(slot::LOST, lost);
        if suppressed > 0 {
            self.add(slot::SUPPRESSED, suppressed);
        }
    }

    /// Publishes that `call` may be handled again by another worker if this one crashes, or with `None` that
    /// no call may.
    pub fn set_repeatable(&self, call: Option<&Call>) {
        self.slot[slot::REPEATABLE].store(call.map_or(0, |call| call.id), Ordering::Relaxed);
    }

    /// Counts a notification of this kind.
    pub fn count_kind(&self, kind: Kind) {
        self.add(slot::KINDS + kind as usize, 1);
    }

    /// Takes back a [`count_kind`](Self::count_kind): another service handles the call.
    pub fn discount_kind(&self, kind: Kind) {
        self.add(slot::KINDS + kind as usize, u64::MAX);
    }

    /// Counts a notification that took this many nanoseconds.
    pub fn count_time(&self, nanoseconds: u64) {
        self.add(slot::LATENCY_SUM, nanoseconds);
        self.add(slot::LATENCY + latency::bucket(nanoseconds), 1);
    }

    fn add(&self, word: usize, more: u64) {
        // This process is the only writer, so a plain load and store suffices.
        let before = self.slot[word].load(Ordering::Relaxed);
        self.slot[word].store(before.wrapping_add(more), Ordering::Relaxed);
    }

    /// Sets the count of an area to 0, and the words of the bitmap in front of it.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn reset(
        &mut self,
        call: &Call,
        ResetTrace { arena, bitmap }: ResetTrace,
    ) -> Result<(), AssistError> {
        let words = self.area(call, arena)?;
        if let Some(trace) = words.as_deref().and_then(|words| Trace::new(words, bitmap, false)) {
            trace.reset();
        }
        Ok(())
    }

    /// Hands the call to the broker, which answers it.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn leave(&mut self, call: &Call, what: RequestKind) -> Result<Outcome, AssistError> {
        self.assistants.leave(call, what)
    }

    /// Sends a request to the broker and waits for the reply.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn ask(&mut self, call: &Call, what: RequestKind) -> Result<Reply, AssistError> {
        self.assistants.ask(call, what, &mut self.arenas, &self.slot)
    }

    /// Reads the caller's memory, all or nothing. The inner error is for the caller.
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

    /// Writes to the caller's memory. The inner error is for the caller.
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

    /// Gives the caller a descriptor of `file`. The call returns its number.
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

    /// Hands a call whose arguments are in memory to the reader, which reads them and has the call answered.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn leave_to_reader(&mut self, call: &Call, what: ReaderKind) -> Result<Outcome, AssistError> {
        self.assistants.leave_to_reader(call, what, &self.slot)
    }
}
