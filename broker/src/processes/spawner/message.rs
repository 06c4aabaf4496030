//! What broker, spawner and tender say to each other. All of them are trusted.

use crate::artifact::Facts;
use crate::artifact::write::Seen;
use kcov_proto::claims::Claims;
use kcov_proto::message::FileId;
use serde::{Deserialize, Serialize};

/// An order of the broker to the spawner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Start {
    /// The tender, with one descriptor: its socket.
    Tender {
        /// What the handlers want: calls for the filter, devices for `/dev`.
        claims: Claims,
    },
    /// The zygote, with one descriptor: its socket.
    Zygote,
    /// A process that writes an artifact, with one descriptor: the journal.
    Artifact(Box<Facts>),
    /// A process that writes down how often artifacts were seen again.
    Sightings(Vec<Seen>),
    /// A reader, with five descriptors: its sockets to worker and broker, the listener, the page that shows what it is
    /// at, the page with what the tenant's readers may do.
    Reader {
        /// Process that all of the tenant descends from.
        tender: u32,
        /// Files that stand for the device.
        placeholders: Vec<FileId>,
        /// Files that stand for the handlers' devices, by their number.
        devices: Vec<FileId>,
    },
}

/// The spawner's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Started {
    /// Process id, with its pidfd beside it.
    Pid(u32),
    /// The errno of the fork.
    Failed(i32),
    /// The errno of making the zygote's control group.
    NoGroup(i32),
}

/// What the tender tells the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenderEvent {
    /// The tenant's mount namespace is ready.
    Placed {
        /// Files that stand for the device.
        placeholders: Vec<FileId>,
        /// Files that stand for the handlers' devices, by their number.
        devices: Vec<FileId>,
        /// What of it did not work.
        notes: Vec<String>,
    },
    /// The filter is installed; the listener rides beside.
    Listening,
    /// The command could not be started: what failed, and the errno.
    Failed {
        /// The step.
        step: String,
        /// Its errno.
        errno: i32,
        /// Whether it was the exec itself.
        exec: bool,
    },
    /// The command stopped on this signal.
    Stopped(i32),
    /// The command goes on.
    Continued,
    /// The command ended: its status, or 128 and the signal.
    Ended {
        /// As shells give it.
        status: u8,
    },
    /// No process of the tenant is left.
    Gone,
}

/// What the broker tells the tender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenderOrder {
    /// Workers are ready: install the filter and exec.
    Go,
    /// Send this signal to the command.
    Signal(i32),
    /// End every process of the tenant.
    Kill,
}
