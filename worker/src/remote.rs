//! Remote sections: coverage of work that a handler does for a caller, but not in one of its calls
//! (`kcov_remote_start` and `kcov_remote_stop` of the kernel).
//!
//! A thread that has used `KCOV_REMOTE_ENABLE` with a handle gets the records of all sections that are
//! started with this handle. The handler finds the handle of a caller by
//! [`Caller::common_handle`](crate::handler::Caller::common_handle), keeps it with the work that it puts
//! off, and does the work in a section:
//!
//! ```
//! use kcov_worker::{kcov_edge, remote_start};
//!
//! /// A request that was queued, with the common handle of the thread that queued it.
//! struct Queued {
//!     handle: u64,
//!     bytes: Vec<u8>,
//! }
//!
//! fn process(request: Queued) {
//!     let section = remote_start(request.handle);
//!     section.run(|| {
//!         kcov_edge!();
//!         // ...
//! #       drop(request.bytes);
//!     });
//!     section.stop();
//! }
//! # process(Queued { handle: 0, bytes: Vec::new() });
//! ```
//!
//! # Who appends when
//! ```text
//!          the caller's call                 the section
//! ENABLE   ├── handler code ──┤ answer
//!              each record goes to the
//!              caller's area at once
//!
//! REMOTE   ├── handler code ──┤ answer       start ├── run ──┤  ├── run ──┤ stop
//! _ENABLE      not recorded                        each record goes to the     │
//!                                                  section's private buffer    ▼
//!                                                                  whole records are appended
//!                                                                  to the area of the handle
//! ```
//!
//! # Rules
//! They are those of kernel/kcov.c (Linux 6.12).
//! - Code that runs in a section is recorded in the section and nowhere else. If it runs during a call, the
//!   recording of the caller is put aside meanwhile.
//! - Nothing is visible before the stop. Then as many whole records are appended as the area has room for.
//! - If the instance was disabled, enabled again or released since the start, or its owner has exited, the
//!   section is dropped.
//! - The buffer has the `area_size` that the client has passed to `KCOV_REMOTE_ENABLE`; further records are
//!   dropped. That of a softirq section has [`SOFTIRQ_WORDS`].
//! - A handle that is not in use, also 0, records nothing. So code needs no check.
//! - Any number of sections may be open, over calls too. A section that is started by code which runs in
//!   another one has no effect, and the code goes on in the outer section. But a softirq section may start
//!   inside a section that is none.
//! - A worker that dies takes its open sections with it.
//!
//! A section is like a thread of the kernel's own, whatever call the handler has. So the rule of the kernel
//! that a thread with an enabled instance cannot start a section does not arise.

mod host;

pub(crate) use host::{Host, WorkerHost, install};

use crate::record::Scope;
use crate::sys::buffer;
use kcov_proto::abi::{AREA_WORDS_MAX, CMP_WORDS};
use kcov_proto::area::Area;
use kcov_proto::device::RemoteTarget;
use kcov_proto::sync::AtomicU64;
use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;

/// Size of the buffer of a softirq section in words: the default of `CONFIG_KCOV_IRQ_AREA_SIZE`.
pub const SOFTIRQ_WORDS: u64 = 0x40000;

/// What code runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    /// A call, or nothing.
    Call,
    /// A section.
    Section,
    /// A softirq section.
    Softirq,
}

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running::Call) };
    /// Whether code ever ran in a section.
    static HAS_RUN: Cell<bool> = const { Cell::new(false) };
}

/// Starts a section for `handle`.
#[must_use]
pub fn remote_start(handle: u64) -> Section {
    Section::start(handle, Running::Section)
}

/// Starts a softirq section for `handle`: for work that plays an interrupt, which may come in the middle of
/// another section.
#[must_use]
pub fn remote_start_softirq(handle: u64) -> Section {
    Section::start(handle, Running::Softirq)
}

/// Returns whether code ever ran in a section of this thread.
pub(crate) fn has_run() -> bool {
    HAS_RUN.get()
}

/// A remote section. It stops when it is dropped.
#[derive(Debug)]
pub struct Section {
    kind: Running,
    state: State,
    /// It stays in its thread.
    thread: PhantomData<Rc<()>>,
}

#[derive(Debug)]
enum State {
    /// Started inside another section: code goes on in that one.
    Nested,
    /// Records nothing: its handle is not in use, its buffer has no room, or it has stopped.
    Silent,
    Collecting {
        target: RemoteTarget,
        buffer: Box<[AtomicU64]>,
    },
}

impl Section {
    fn start(handle: u64, kind: Running) -> Self {
        let is_nested = match RUNNING.get() {
            Running::Call => false,
            Running::Section => kind == Running::Section,
            Running::Softirq => true,
        };
        let state = match is_nested {
            true => State::Nested,
            false => collect(handle, kind),
        };
        Section { kind, state, thread: PhantomData }
    }

    /// A section for what a handler does after a call of a thread that is enabled. Code in it may start sections.
    pub(crate) fn of_call(target: RemoteTarget) -> Self {
        let state = with_buffer(target, u64::from(target.area_size));
        Section { kind: Running::Call, state, thread: PhantomData }
    }

    /// Runs `work` in the section. A section may run code several times, with calls between.
    pub fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        HAS_RUN.set(HAS_RUN.get() || self.kind != Running::Call);
        match &self.state {
            State::Nested => work(),
            State::Silent => self.running(|| Scope::aside(work)),
            State::Collecting { target, buffer } => match Area::new(buffer) {
                Some(area) => self.running(|| Scope::enter(area, target.mode, |_| work()).0),
                None => self.running(|| Scope::aside(work)),
            },
        }
    }

    fn running<R>(&self, work: impl FnOnce() -> R) -> R {
        /// Restores what ran before, also if the work unwinds.
        struct Before(Running);
        impl Drop for Before {
            fn drop(&mut self) {
                RUNNING.set(self.0);
            }
        }
        let _before = Before(RUNNING.replace(self.kind));
        work()
    }

    /// Returns whether records of the section are kept. They may still be dropped at the stop.
    #[must_use]
    pub fn is_collecting(&self) -> bool {
        matches!(self.state, State::Collecting { .. })
    }

    /// Stops the section. When this returns, its records are in the area, or dropped.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        let State::Collecting { target, buffer } = std::mem::replace(&mut self.state, State::Silent) else {
            return;
        };
        if let Some(records) = Area::new(&buffer).filter(|records| records.count() > 0)
            && let Some(host) = host::current()
        {
            host.append(&target, &records);
        }
    }
}

fn collect(handle: u64, kind: Running) -> State {
    let Some(target) = host::current().and_then(|host| host.target(handle)) else { return State::Silent };
    let size = match kind {
        Running::Softirq => SOFTIRQ_WORDS,
        Running::Call | Running::Section => u64::from(target.area_size),
    };
    with_buffer(target, size)
}

fn with_buffer(target: RemoteTarget, size: u64) -> State {
    match buffer_words(size, target.words).map(buffer::zeroed) {
        Ok(Some(buffer)) => return State::Collecting { target, buffer },
        Err(Refused::NoRoom) => {}
        Ok(None) | Err(Refused::TooLarge) => {
            if let Some(host) = host::current() {
                host.unbuffered();
            }
        }
    }
    State::Silent
}

/// Why a section has no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// No record fits.
    NoRoom,
    /// No area can be so large.
    TooLarge,
}

/// Size of the buffer for a section of `size` words whose area has `area` words.
fn buffer_words(size: u64, area: u64) -> Result<usize, Refused> {
    /// A merge may copy the beginning of one record more than the area holds.
    const ONE_MORE: u64 = CMP_WORDS;
    match size {
        0 | 1 => Err(Refused::NoRoom),
        // The kernel cannot allocate such a buffer either.
        _ if size > AREA_WORDS_MAX => Err(Refused::TooLarge),
        // What the area has no room for would be dropped at the stop.
        _ => Ok(size.min(area.saturating_add(ONE_MORE)) as usize),
    }
}

#[cfg(test)]
mod tests;
