//! Which requests a worker may make, by its standing. Every request is in this table.

use kcov_proto::message::{NotificationId, RequestKind};

/// How far a worker has come, as the broker has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Forked; it has not reported yet.
    Starting,
    /// Serving.
    Serving {
        /// The last notification for which it made a request that decides the call.
        decided: Option<NotificationId>,
    },
}

/// How often a request may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Any number of times.
    Allowed,
    /// Once for each notification: it decides the call.
    Once,
    /// Never: the worker is killed.
    Fatal,
}

/// Returns how often `what` may be requested.
#[must_use]
pub fn permit(standing: Standing, id: NotificationId, what: &RequestKind) -> Permit {
    use Permit::{Allowed, Fatal, Once};
    match (what, standing) {
        (RequestKind::Ready { .. }, Standing::Starting) => Allowed,
        (RequestKind::Ready { .. }, Standing::Serving { .. }) | (_, Standing::Starting) => Fatal,
        // The broker takes it where it has granted the merge.
        (RequestKind::RemoteDone { .. }, Standing::Serving { .. }) => Fatal,
        (
            RequestKind::Settle
            | RequestKind::Arena(_)
            | RequestKind::Reader
            | RequestKind::File { .. }
            | RequestKind::Reason { .. }
            | RequestKind::Silence { .. }
            | RequestKind::Collision { .. }
            | RequestKind::RemoteStart { .. }
            | RequestKind::RemoteStop { .. }
            | RequestKind::RemoteUnbuffered
            | RequestKind::CommonHandle
            | RequestKind::Closing { .. }
            | RequestKind::Closed
            | RequestKind::Cloning { .. },
            Standing::Serving { .. },
        ) => Allowed,
        (
            RequestKind::Ioctl(_)
            | RequestKind::Mmap(_)
            | RequestKind::Exec
            | RequestKind::Opened { .. }
            | RequestKind::Inject { .. },
            Standing::Serving { decided },
        ) => {
            if decided == Some(id) {
                Fatal
            } else {
                Once
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::device::ArenaId;
    use kcov_proto::message::{KcovIoctl, Mapping};

    #[test]
    fn a_worker_reports_ready_first_and_once() {
        let kinds = [
            RequestKind::Ioctl(KcovIoctl { fd: 0, request: 0, arg: 0 }),
            RequestKind::Mmap(Mapping { fd: 0, address: 0, length: 0, offset: 0, prot: 0, flags: 0 }),
            RequestKind::Exec,
            RequestKind::Settle,
            RequestKind::Arena(ArenaId { index: 0, generation: 0 }),
            RequestKind::Reader,
            RequestKind::Opened { result: Ok(()) },
            RequestKind::File { fd: 0 },
            RequestKind::Inject { close_on_exec: false },
            RequestKind::Reason { handler: String::new(), reason: String::new() },
            RequestKind::Silence { handler: String::new() },
            RequestKind::Collision { ids: [1, 2], pc: 3 },
            RequestKind::RemoteStart { handle: 1 },
            RequestKind::RemoteStop { arena: ArenaId { index: 0, generation: 0 }, sequence: 1 },
            RequestKind::RemoteUnbuffered,
            RequestKind::CommonHandle,
            RequestKind::Closing { first: 3, last: 3 },
            RequestKind::Closed,
            RequestKind::Cloning { thread: None },
        ];
        for kind in &kinds {
            assert_eq!(permit(Standing::Starting, 1, kind), Permit::Fatal, "{kind:?}");
            assert_ne!(permit(Standing::Serving { decided: None }, 1, kind), Permit::Fatal, "{kind:?}");
        }
        let ready = RequestKind::Ready { heartbeat: kcov_proto::message::Heartbeat::default() };
        assert_eq!(permit(Standing::Starting, 0, &ready), Permit::Allowed);
        assert_eq!(permit(Standing::Serving { decided: None }, 0, &ready), Permit::Fatal);
        let done = RequestKind::RemoteDone { stored: 1, lost: 0 };
        assert_eq!(permit(Standing::Serving { decided: None }, 1, &done), Permit::Fatal);
    }

    #[test]
    fn a_call_is_decided_once() {
        let decided = Standing::Serving { decided: Some(7) };
        assert_eq!(permit(decided, 7, &RequestKind::Exec), Permit::Fatal);
        assert_eq!(permit(decided, 8, &RequestKind::Exec), Permit::Once);
        assert_eq!(permit(decided, 7, &RequestKind::Settle), Permit::Allowed);
    }
}
