//! Which requests a worker may make, by its standing. Every request is in this table.

use kcov_proto::message::{AssistKind, NotificationId};

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
pub fn permit(standing: Standing, id: NotificationId, what: &AssistKind) -> Permit {
    use Permit::{Allowed, Fatal, Once};
    match (what, standing) {
        (AssistKind::Ready { .. }, Standing::Starting) => Allowed,
        (AssistKind::Ready { .. }, Standing::Serving { .. }) | (_, Standing::Starting) => Fatal,
        (
            AssistKind::Settle
            | AssistKind::Arena(_)
            | AssistKind::Reader
            | AssistKind::File { .. }
            | AssistKind::Reason { .. }
            | AssistKind::Silence { .. }
            | AssistKind::Collision { .. },
            Standing::Serving { .. },
        ) => Allowed,
        // Only readers report opens: they have read the path.
        (AssistKind::Open { .. }, _) => Fatal,
        (
            AssistKind::Ioctl { .. }
            | AssistKind::Mmap { .. }
            | AssistKind::Exec
            | AssistKind::Opened { .. }
            | AssistKind::Inject { .. },
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

    #[test]
    fn a_worker_reports_ready_first_and_once() {
        let open = AssistKind::Open { flags: 0, reopened: None, device: None };
        assert_eq!(permit(Standing::Serving { decided: None }, 1, &open), Permit::Fatal);
        let kinds = [
            AssistKind::Ioctl { fd: 0, request: 0, arg: 0, remote: None },
            AssistKind::Mmap { fd: 0, address: 0, length: 0, offset: 0, prot: 0, flags: 0 },
            AssistKind::Exec,
            AssistKind::Settle,
            AssistKind::Arena(ArenaId { index: 0, generation: 0 }),
            AssistKind::Reader,
            AssistKind::Opened { result: Ok(()) },
            AssistKind::File { fd: 0 },
            AssistKind::Inject { close_on_exec: false },
            AssistKind::Reason { handler: String::new(), reason: String::new() },
            AssistKind::Silence { handler: String::new() },
            AssistKind::Collision { ids: [1, 2], pc: 3 },
        ];
        for kind in &kinds {
            assert_eq!(permit(Standing::Starting, 1, kind), Permit::Fatal, "{kind:?}");
            assert_ne!(permit(Standing::Serving { decided: None }, 1, kind), Permit::Fatal, "{kind:?}");
        }
        let ready = AssistKind::Ready { heartbeat: kcov_proto::message::Heartbeat::default() };
        assert_eq!(permit(Standing::Starting, 0, &ready), Permit::Allowed);
        assert_eq!(permit(Standing::Serving { decided: None }, 0, &ready), Permit::Fatal);
    }

    #[test]
    fn a_call_is_decided_once() {
        let decided = Standing::Serving { decided: Some(7) };
        assert_eq!(permit(decided, 7, &AssistKind::Exec), Permit::Fatal);
        assert_eq!(permit(decided, 8, &AssistKind::Exec), Permit::Once);
        assert_eq!(permit(decided, 7, &AssistKind::Settle), Permit::Allowed);
    }
}
