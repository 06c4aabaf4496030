//! The sockets of a worker together with the arenas that it has mapped: replies of the broker change both.

use crate::arenas::Arenas;
use crate::assist::{AssistError, Assistants};
use crate::call::Call;
use crate::sys::shared::SharedWords;
use kcov_proto::device::ArenaId;
use kcov_proto::message::{Reply, RequestKind};
use std::rc::Rc;

/// Sockets and arenas.
#[derive(Debug)]
pub struct Link {
    /// The sockets.
    pub assistants: Assistants,
    arenas: Arenas,
}

impl Link {
    /// A link without arenas.
    #[must_use]
    pub fn new(assistants: Assistants) -> Self {
        Link { assistants, arenas: Arenas::default() }
    }

    /// The words of an arena, if it is mapped.
    #[must_use]
    pub fn area(&self, id: ArenaId) -> Option<Rc<SharedWords>> {
        self.arenas.get(id)
    }

    /// Sends a request to the broker and waits for the reply.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn ask(&mut self, call: &Call, what: RequestKind, slot: &SharedWords) -> Result<Reply, AssistError> {
        self.assistants.ask(call, what, &mut self.arenas, slot)
    }

    /// Sends a message to the broker that has no reply.
    ///
    /// # Errors
    /// If the broker is gone.
    pub fn leave(&mut self, call: &Call, what: RequestKind) -> Result<(), AssistError> {
        self.assistants.leave(call, what).map(drop)
    }
}
