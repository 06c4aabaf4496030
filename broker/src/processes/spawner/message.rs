//! Messages between broker, spawner and tender. All three are trusted.

use crate::artifact::Facts;
use crate::artifact::write::Seen;
use kcov_proto::claims::Claims;
use kcov_proto::message::FileId;
use serde::{Deserialize, Serialize};

/// An order from the broker to the spawner: the process to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Start {
    /// The tender. Descriptor: its socket.
    Tender {
        /// What the handlers claim: system calls for the filter, devices for `/dev`.
        claims: Claims,
    },
    /// The zygote. Descriptor: its socket.
    Zygote,
    /// A writer of an artifact. Descriptor: the journal.
    Artifact(Box<Facts>),
    /// A process that records further sightings of artifacts.
    Sightings(Vec<Seen>),
    /// A reader. Descriptors: its sockets to the worker and to the broker, the listener, the page with the request in
    /// progress, the page with the rate limits.
    Reader {
        /// Pid of the tender, the ancestor of all processes of the tenant.
        tender: u32,
        /// The file that stands for the KCOV device.
        placeholder: Option<FileId>,
        /// Files that stand for the handlers' devices, by their number.
        devices: Vec<FileId>,
    },
}

/// The reply of the spawner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Started {
    /// The pid; the descriptor is its pidfd.
    Pid(u32),
    /// fork failed with this errno.
    Failed(i32),
    /// Creating the zygote's control group failed with this errno.
    NoGroup(i32),
}

/// A message from the tender to the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenderEvent {
    /// The tenant's mount namespace is ready.
    Placed {
        /// The file that stands for the KCOV device. A description of it comes beside.
        placeholder: Option<FileId>,
        /// Files that stand for the handlers' devices, by their number.
        devices: Vec<FileId>,
        /// Warnings about parts that failed.
        notes: Vec<String>,
    },
    /// The filter is installed. Descriptor: the listener.
    Listening,
    /// The command could not be started.
    Failed {
        /// The step that failed.
        step: String,
        /// Its errno.
        errno: i32,
        /// Whether the step was the exec of the command.
        exec: bool,
    },
    /// The command was stopped by this signal.
    Stopped(i32),
    /// The command was continued.
    Continued,
    /// The command ended.
    Ended {
        /// Exit status, or 128 plus the signal.
        status: u8,
    },
    /// The order to send a signal was carried out.
    Signalled,
    /// No process of the tenant is left.
    Gone,
    /// All processes of the tenant were killed, and some of them do not end. The tender exits.
    Left {
        /// The message, which names them.
        message: String,
    },
}

/// An order from the broker to the tender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TenderOrder {
    /// Install the filter and exec the command: workers are ready.
    Go,
    /// Send this signal to the command, or none if it is 0, and watch whether the command takes it.
    Signal(i32),
    /// Kill all processes of the tenant.
    Kill,
}
