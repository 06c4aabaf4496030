//! How sections reach the broker, which owns the instances.

use crate::assist::AssistError;
use crate::call::Call;
use crate::link::Link;
use crate::sys::shared::SharedWords;
use kcov_proto::area::{Area, Merged};
use kcov_proto::device::RemoteTarget;
use kcov_proto::message::{RemoteReply, RequestKind};
use kcov_proto::roster::Roster;
use kcov_proto::slot;
use kcov_proto::sync::Ordering;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// Most sections that are started during one call; further ones record nothing. The broker kills a worker
/// that sends more requests than these need.
const MAX_SECTIONS: u64 = 2048;

/// What sections need from outside.
pub(crate) trait Host {
    /// Returns what a handle refers to, if it is in use.
    fn target(&self, handle: u64) -> Option<RemoteTarget>;

    /// Appends the records of a section, unless it is to be dropped.
    fn append(&self, target: &RemoteTarget, records: &Area<'_>);

    /// Reports that there was no memory for the buffer of a section.
    fn unbuffered(&self);
}

thread_local! {
    static HOST: RefCell<Option<Rc<dyn Host>>> = const { RefCell::new(None) };
}

/// Sets the host of this thread's sections. Without one, sections record nothing.
pub(crate) fn install(host: Rc<dyn Host>) {
    HOST.set(Some(host));
}

pub(super) fn current() -> Option<Rc<dyn Host>> {
    HOST.with_borrow(Clone::clone)
}

/// The host in a worker.
pub(crate) struct WorkerHost {
    slot: Rc<SharedWords>,
    roster: Rc<SharedWords>,
    link: Rc<RefCell<Link>>,
    /// Sections started since the last call was received: the count of calls, and of sections.
    started: Cell<(u64, u64)>,
}

impl fmt::Debug for WorkerHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerHost").field("started", &self.started).finish_non_exhaustive()
    }
}

impl WorkerHost {
    pub(crate) fn new(slot: Rc<SharedWords>, roster: Rc<SharedWords>, link: Rc<RefCell<Link>>) -> Self {
        WorkerHost { slot, roster, link, started: Cell::new((0, 0)) }
    }

    /// Counts a section. Returns whether another one may be started during this call.
    fn may_start(&self) -> bool {
        let taken = self.slot[slot::TAKEN].load(Ordering::Relaxed);
        let started = match self.started.get() {
            (calls, started) if calls == taken => started + 1,
            _ => 1,
        };
        self.started.set((taken, started));
        started <= MAX_SECTIONS
    }

    fn ask(&self, what: RequestKind) -> Result<Option<RemoteReply>, AssistError> {
        // The call in the slot, if there is one: the broker only counts requests by it.
        let call = Call::from_slot(&self.slot);
        self.link.borrow_mut().ask(&call, what, &self.slot).map(|reply| reply.remote)
    }

    fn tell(&self, what: RequestKind) -> Result<(), AssistError> {
        self.link.borrow_mut().leave(&Call::from_slot(&self.slot), what)
    }

    fn try_append(&self, target: &RemoteTarget, records: &Area<'_>) -> Result<(), AssistError> {
        let RemoteTarget { arena, sequence, mode, .. } = *target;
        // Mapped first: the broker serves nothing between its grant and the report.
        let is_mapped = self.link.borrow().area(arena).is_some();
        if !is_mapped {
            self.ask(RequestKind::Arena(arena))?;
        }
        if self.ask(RequestKind::RemoteStop { arena, sequence })? != Some(RemoteReply::Append(true)) {
            return Ok(());
        }
        let words = self.link.borrow().area(arena);
        let area = words.as_deref().and_then(|words| Area::new(words));
        let lost = Merged { stored: 0, lost: records.count() };
        let Merged { stored, lost } = area.map_or(lost, |area| area.merge(records, mode));
        self.tell(RequestKind::RemoteDone { stored, lost })
    }
}

// A broker that is gone also ends this worker, at its next message.
impl Host for WorkerHost {
    fn target(&self, handle: u64) -> Option<RemoteTarget> {
        if handle == 0
            || !Roster::new(&self.roster).is_some_and(|roster| roster.has_handles())
            || !self.may_start()
        {
            return None;
        }
        match self.ask(RequestKind::RemoteStart { handle }) {
            Ok(Some(RemoteReply::Target(target))) => target,
            Ok(_) | Err(_) => None,
        }
    }

    fn append(&self, target: &RemoteTarget, records: &Area<'_>) {
        let _ = self.try_append(target, records);
    }

    fn unbuffered(&self) {
        let _ = self.tell(RequestKind::RemoteUnbuffered);
    }
}
