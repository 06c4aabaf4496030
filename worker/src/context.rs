//! What a service can use while it serves a call: shared memory, sockets and counters.

use crate::assist::{AssistError, Assistants};
use crate::call::{Abi, Call};
use crate::link::Link;
use crate::outcome::Outcome;
use crate::record::Recorded;
use crate::remote::WorkerHost;
use crate::sys::listener::clear_slot;
use crate::sys::shared::SharedWords;
use kcov_proto::device::ArenaId;
use kcov_proto::journal::{Event, JournalWriter};
use kcov_proto::message::{ClosedFile, ReaderKind, RemoteReply, Reply, RequestKind, ResetTrace, Response};
use kcov_proto::roster::{Roster, RosterEntry};
use kcov_proto::slot::{self, Kind};
use kcov_proto::sync::Ordering;
use kcov_proto::unique::Trace;
use kcov_proto::{Errno, latency, roster};
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// The shared memory, sockets and mappings of a worker.
#[derive(Debug)]
pub struct Context {
    slot: Rc<SharedWords>,
    roster: Rc<SharedWords>,
    link: Rc<RefCell<Link>>,
    journal: Option<JournalWriter<SharedWords>>,
    /// Calls that may have closed the last descriptor of a file of a handler's device, by thread. Other calls of
    /// the thread wait until that is known.
    closings: HashMap<u32, Call>,
}

/// The slot while no call is in it.
const NO_CALL: Call = Call { id: 0, tid: 0, abi: Abi::Native, number: 0, args: [0; 6] };

/// Most threads whose closes are remembered.
const MAX_CLOSINGS: usize = 4096;

impl Context {
    /// A context without a journal.
    #[must_use]
    pub fn new(slot: SharedWords, roster: SharedWords, assistants: Assistants) -> Self {
        debug_assert_eq!(roster.len(), roster::WORDS);
        let link = Rc::new(RefCell::new(Link::new(assistants)));
        Context {
            slot: Rc::new(slot),
            roster: Rc::new(roster),
            link,
            journal: None,
            closings: HashMap::new(),
        }
    }

    /// The host for remote sections, which shares what this context has.
    pub(crate) fn remote_host(&self) -> WorkerHost {
        WorkerHost::new(self.slot.clone(), self.roster.clone(), self.link.clone())
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
        let mapped = self.link.borrow().area(id);
        if mapped.is_some() {
            return Ok(mapped);
        }
        self.ask(call, RequestKind::Arena(id))?;
        Ok(self.link.borrow().area(id))
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
        self.link.borrow_mut().assistants.leave(call, what)
    }

    /// Sends a request to the broker and waits for the reply.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn ask(&mut self, call: &Call, what: RequestKind) -> Result<Reply, AssistError> {
        self.link.borrow_mut().ask(call, what, &self.slot)
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
        self.link.borrow_mut().assistants.memory(call, address, length, &self.slot)
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
        self.link.borrow_mut().assistants.write(call, address, bytes, &self.slot)
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
        self.link.borrow_mut().assistants.inject(call, file.as_fd(), close_on_exec)
    }

    /// Returns whether a file of a handler's device is open.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.roster().is_some_and(|roster| roster.has_files())
    }

    /// Notes that the caller is about to close these descriptors.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn note_closing(&mut self, call: &Call, first: u32, last: u32) -> Result<(), AssistError> {
        let reply = self.ask(call, RequestKind::Closing { first, last })?;
        if reply.response == Some(Response::Value(1)) {
            if self.closings.len() >= MAX_CLOSINGS {
                self.closings.clear();
            }
            self.closings.insert(call.tid, *call);
        }
        Ok(())
    }

    /// The files that the caller's last close has released, if there was one since its last call.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn take_closed(&mut self, call: &Call) -> Result<Vec<ClosedFile>, AssistError> {
        // Most runs have no closes, and this is asked for each call.
        if self.closings.is_empty() || !self.closings.contains_key(&call.tid) {
            return Ok(Vec::new());
        }
        let closed = self.ask(call, RequestKind::Closed)?.closed;
        if closed.is_empty() {
            self.closings.remove(&call.tid);
        }
        Ok(closed)
    }

    /// Runs `release` while the slot shows the call that has closed a file, so that a crash is blamed on that
    /// one. Its caller does not wait any more; the caller of the call in the slot does, if there is one.
    pub fn blame<T>(&mut self, closer: u32, release: impl FnOnce(&mut Self) -> T) -> T {
        let current = Call::from_slot(&self.slot);
        let unknown = Call { tid: closer, number: libc::SYS_close as i32, abi: Abi::Native, ..NO_CALL };
        let closing = self.closings.get(&closer).copied().unwrap_or(unknown);
        Call { id: current.id, ..closing }.show(&self.slot);
        let released = release(self);
        if current.id == 0 {
            clear_slot(&self.slot);
        } else {
            current.show(&self.slot);
        }
        released
    }

    /// The common handle of the caller, 0 if it has none.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn common_handle(&mut self, call: &Call) -> Result<u64, AssistError> {
        if !self.has_common() {
            return Ok(0);
        }
        match self.ask(call, RequestKind::CommonHandle)?.remote {
            Some(RemoteReply::Common(handle)) => Ok(handle),
            _ => Ok(0),
        }
    }

    /// Returns whether a thread of the tenant may have a common handle.
    #[must_use]
    pub fn has_common(&self) -> bool {
        self.roster().is_some_and(|roster| roster.has_common())
    }

    /// Returns whether [`note_clone`](Self::note_clone) is of use: common handles exist, or may soon.
    #[must_use]
    pub fn notes_clones(&self) -> bool {
        self.roster().is_some_and(|roster| roster.has_common() || roster.has_instances())
    }

    /// Reports that the caller is about to create a thread or a process, which inherits its common handle.
    /// `thread`: which of the two, if known.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn note_clone(&mut self, call: &Call, thread: Option<bool>) -> Result<(), AssistError> {
        self.leave(call, RequestKind::Cloning { thread }).map(drop)
    }

    /// Hands a call whose arguments are in memory to the reader, which reads them and has the call answered.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn leave_to_reader(&mut self, call: &Call, what: ReaderKind) -> Result<Outcome, AssistError> {
        self.link.borrow_mut().assistants.leave_to_reader(call, what, &self.slot)
    }
}
