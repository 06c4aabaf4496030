//! Opens of handlers' devices that are under way.

use crate::kcov::arena::Arena;
use kcov_proto::device::ArenaId;
use kcov_proto::message::Order;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// An open that a handler has not decided yet.
#[derive(Debug)]
pub struct Opening {
    /// The worker that has the order; `None` while no worker has it.
    pub(super) worker: Option<u32>,
    pub(super) order: Order,
    pub(super) device: u16,
    pub(super) file: ArenaId,
    pub(super) arena: Arena,
    pub(super) description: OwnedFd,
    /// Whether the caller's descriptor is closed by an `execve`.
    pub close_on_exec: bool,
    pub(super) since: Instant,
}

impl Opening {
    /// The description for the caller.
    #[must_use]
    pub fn description(&self) -> BorrowedFd<'_> {
        self.description.as_fd()
    }

    /// Identity of the file.
    #[must_use]
    pub fn file(&self) -> ArenaId {
        self.file
    }
}
