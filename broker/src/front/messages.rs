//! Messages between the broker and its front: the process of `kcov-broker run`, or the manager of a service.

use serde::{Deserialize, Serialize};

/// From the broker to the front.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontEvent {
    /// The command is about to be executed.
    Running {
        /// Process id of the spawner. It lives until every other process of the run except the broker has
        /// ended.
        spawner: u32,
    },
    /// The order to send a signal was carried out.
    Signalled,
    /// The command was stopped by a signal. The job stops with it.
    Stopped,
    /// The command ended.
    Ended {
        /// Its exit status, as shells report it.
        status: u8,
        /// Whether every other process has ended too, so that the broker is about to exit.
        last: bool,
    },
    /// The command could not be run, or cannot be served any longer.
    Failed {
        /// The message for the user.
        message: String,
        /// Exit status.
        status: u8,
    },
}

/// From the front to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FrontOrder {
    /// Send this signal to the command, or none if it is 0, and report [`FrontEvent::Signalled`].
    Signal(i32),
    /// Kill every process of the tenant.
    Kill,
}
