//! Messages between clients and server: serde and bincode, one message per datagram.

use kcov_proto::message::MAX_BYTES;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Maximum size of a configuration with tenants to add, bytes. The message also contains a file name and a
/// directory.
pub const MAX_ADDED: usize = MAX_BYTES - 2 * 4096 - 64;
/// Maximum number of tenants in a reply.
pub const PAGE: usize = 32;
/// Maximum size of a text in a reply, bytes. [`PAGE`] tenants with three texts each fit into a datagram.
pub const MAX_TEXT: usize = 512;

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// List the tenants whose names follow `after`, up to a page.
    List {
        /// The last name of the previous page; empty for the first page.
        after: String,
    },
    /// Show a tenant.
    Status {
        /// Its name.
        name: String,
    },
    /// Add the tenants of a configuration.
    Add {
        /// The configuration, in TOML.
        text: String,
        /// Name of the file, for messages.
        file: String,
        /// Directory in which relative paths start.
        directory: PathBuf,
    },
    /// End a tenant and do not restart it.
    Stop {
        /// Its name.
        name: String,
    },
    /// Restart a tenant, or start it if it does not run.
    Restart {
        /// Its name.
        name: String,
    },
}

/// A reply of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// A page of tenants, sorted by name.
    Tenants {
        /// The tenants.
        tenants: Vec<Status>,
        /// Whether there are more.
        more: bool,
    },
    /// The requested tenant.
    Tenant {
        /// The tenant; `None` if it does not exist.
        tenant: Option<Box<Shown>>,
    },
    /// The tenants were added.
    Added {
        /// Their names.
        names: Vec<String>,
    },
    /// The request is being executed.
    Accepted {
        /// Number of starts of the tenant at the time of the request.
        starts: u64,
    },
    /// The request was refused.
    Refused {
        /// The message.
        message: String,
    },
}

/// The condition of a tenant, as shown to operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It is being started.
    Starting,
    /// Its command runs.
    Running,
    /// Its command runs, but its broker was killed: traced calls fail with `ENOSYS`.
    Unserved,
    /// It is being ended.
    Stopping,
    /// It ended and will be restarted.
    Waiting,
    /// It ended successfully, or was stopped.
    Stopped,
    /// It failed and will not be restarted.
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

/// The status of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its condition.
    pub state: Condition,
    /// Milliseconds in this condition.
    pub since_ms: u64,
    /// Milliseconds from the last start to the `execve` of the command.
    pub start_ms: Option<u64>,
    /// Number of starts.
    pub starts: u64,
    /// Number of restarts since the last long run.
    pub restarts: u32,
    /// Number of failed runs, not counting those that were stopped.
    pub failures: u64,
    /// Milliseconds until the next start, if it waits for one.
    pub next_start_ms: Option<u64>,
    /// Process id of its broker, if it is alive.
    pub broker: Option<u32>,
    /// uid of its workers, with root.
    pub uid: Option<u32>,
    /// Exit status of the last run, as shells report it.
    pub last_status: Option<u8>,
    /// Why that run failed, if known.
    pub message: Option<String>,
    /// Milliseconds since its end.
    pub last_end_ms: Option<u64>,
    /// Milliseconds that its command ran.
    pub last_run_ms: Option<u64>,
    /// Its command.
    pub command: String,
    /// Whether it is in the configuration file. Otherwise it was added at run time.
    pub configured: bool,
}

/// A tenant with all details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The part that lists also contain.
    pub status: Status,
    /// User of the command, as configured.
    pub user: Option<String>,
    /// Its handlers, separated by blanks.
    pub handlers: String,
    /// Directory of its artifacts.
    pub artifacts: Option<String>,
    /// Where its output goes.
    pub output: String,
}

/// `text`, truncated to [`MAX_TEXT`] bytes.
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
        /// Any bytes decode to a message or an error.
        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode::<Request>(&bytes);
            let _ = decode::<Reply>(&bytes);
        }

        #[test]
        fn requests_are_decoded_as_they_were_encoded(name in "\\PC{0,80}", kind in 0..4) {
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
