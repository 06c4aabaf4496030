//! What clients and the server say to each other: serde and bincode, one message a datagram.

use kcov_proto::message::MAX_BYTES;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Most bytes of a text with tenants to add: the message has a name and a directory besides.
pub const MAX_ADDED: usize = MAX_BYTES - 2 * 4096 - 64;
/// Most tenants in one reply.
pub const PAGE: usize = 32;
/// Most bytes of a text that a reply tells; [`PAGE`] tenants with three texts each fit into one datagram.
pub const MAX_TEXT: usize = 512;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The tenants whose names follow `after`, as many as one reply holds.
    List {
        /// The last name that is known; empty at first.
        after: String,
    },
    /// One tenant.
    Status {
        /// Its name.
        name: String,
    },
    /// Add the tenants of a configuration.
    Add {
        /// The text, in TOML.
        text: String,
        /// Name of the file, for messages.
        file: String,
        /// Where relative paths start.
        directory: PathBuf,
    },
    /// End a tenant and keep it from starting again.
    Stop {
        /// Its name.
        name: String,
    },
    /// End a tenant and start it again; start it if it does not run.
    Restart {
        /// Its name.
        name: String,
    },
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Tenants, by name.
    Tenants {
        /// Some of them.
        tenants: Vec<Status>,
        /// Whether there are more.
        more: bool,
    },
    /// The tenant that was asked for, if there is one.
    Tenant {
        /// It.
        tenant: Option<Box<Shown>>,
    },
    /// Tenants that were added.
    Added {
        /// Their names.
        names: Vec<String>,
    },
    /// It is being done.
    Accepted {
        /// How often the tenant had been started when it was asked for.
        starts: u64,
    },
    /// It is not done, and why.
    Refused {
        /// The message.
        message: String,
    },
}

/// What a tenant is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It is on its way to the exec of its command.
    Starting,
    /// Its command runs.
    Running,
    /// Its command runs without a broker, which was killed: traced calls get `ENOSYS`.
    Unserved,
    /// It is being ended.
    Stopping,
    /// It ended, and starts again after a while.
    Waiting,
    /// It ended well, or was stopped.
    Stopped,
    /// It ended badly, and does not start again by itself.
    Failed,
}

impl Condition {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Condition::Starting => "starting",
            Condition::Running => "running",
            Condition::Unserved => "unserved",
            Condition::Stopping => "stopping",
            Condition::Waiting => "waiting",
            Condition::Stopped => "stopped",
            Condition::Failed => "failed",
        }
    }
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it is at.
    pub state: Condition,
    /// Since how many milliseconds.
    pub since_ms: u64,
    /// How long the last start took, up to the exec of the command, milliseconds.
    pub start_ms: Option<u64>,
    /// How often it was started.
    pub starts: u64,
    /// How often in a row it was started again without a long run.
    pub restarts: u32,
    /// How many runs of it have failed by themselves.
    pub failures: u64,
    /// In how many milliseconds it starts again, if it waits for that.
    pub next_start_ms: Option<u64>,
    /// Process id of its broker, as long as that lives.
    pub broker: Option<u32>,
    /// uid of its workers, with root.
    pub uid: Option<u32>,
    /// Exit status of the last run that is over, as shells give it.
    pub last_status: Option<u8>,
    /// What went wrong with that run, if it is known.
    pub message: Option<String>,
    /// How many milliseconds ago it ended.
    pub last_end_ms: Option<u64>,
    /// How long its command ran, milliseconds.
    pub last_run_ms: Option<u64>,
    /// Its command.
    pub command: String,
    /// Whether it is in the configuration file; else it was added later.
    pub configured: bool,
}

/// One tenant, with what a list has no room for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// What a list tells.
    pub status: Status,
    /// Who its command runs as, as configured.
    pub user: Option<String>,
    /// Its handlers, one after the other.
    pub handlers: String,
    /// Where artifacts of its workers' crashes go.
    pub artifacts: Option<String>,
    /// Where its output goes.
    pub output: String,
}

/// `text` cut to what a reply may tell.
#[must_use]
pub fn bounded(text: &str) -> String {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|&end| text.is_char_boundary(end));
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::message::{decode, encode};
    use proptest::prelude::*;

    fn full(name: String) -> Status {
        let text = "\u{20ac}".repeat(MAX_TEXT);
        Status {
            name,
            state: Condition::Running,
            since_ms: u64::MAX,
            start_ms: Some(u64::MAX),
            starts: u64::MAX,
            restarts: u32::MAX,
            failures: u64::MAX,
            next_start_ms: Some(u64::MAX),
            broker: Some(u32::MAX),
            uid: Some(u32::MAX),
            last_status: Some(255),
            message: Some(bounded(&text)),
            last_end_ms: Some(u64::MAX),
            last_run_ms: Some(u64::MAX),
            command: bounded(&text),
            configured: true,
        }
    }

    #[test]
    fn the_longest_page_and_the_longest_text_fit_into_a_datagram() {
        let tenants = (0..PAGE).map(|_| full("n".repeat(64))).collect();
        let mut bytes = Vec::new();
        encode(&Reply::Tenants { tenants, more: true }, &mut bytes).expect("fits");
        let path = "p".repeat(4096);
        let add = Request::Add { text: "t".repeat(MAX_ADDED), file: path.clone(), directory: path.into() };
        encode(&add, &mut bytes).expect("fits");
        assert_eq!(decode::<Request>(&bytes).expect("decodes"), add);
    }

    proptest! {
        /// Whatever a client sends is a request or an error.
        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Reply>(&bytes);
        }

        #[test]
        fn requests_come_back_as_they_were_sent(name in "\\PC{0,80}", kind in 0..4) {
            let request = match kind {
                0 => Request::List { after: name },
                1 => Request::Status { name },
                2 => Request::Stop { name },
                _ => Request::Restart { name },
            };
            let mut bytes = Vec::new();
            encode(&request, &mut bytes).expect("fits");
            prop_assert_eq!(decode::<Request>(&bytes).expect("decodes"), request);
            bytes.pop();
            prop_assert!(decode::<Request>(&bytes).is_err());
        }
    }
}
