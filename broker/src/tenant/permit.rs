//! What a worker may ask, by its phase: one table, no request beside it.

use kcov_proto::message::{AssistKind, NotificationId};

/// Where a worker stands, as the broker has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Forked, not heard of.
    Starting,
    /// Serving. `decided` is the last notification for which it was given a decision.
    Serving {
        /// That notification.
        decided: Option<NotificationId>,
    },
}

/// What the table says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// Any number of times.
    Allowed,
    /// Once for a notification: it decides what becomes of it.
    Once,
    /// Never: the worker is at fault and ends.
    Fatal,
}

/// The table.
#[must_use]
pub fn permit(phase: Phase, id: NotificationId, what: &AssistKind) -> Permit {
    use Permit::{Allowed, Fatal, Once};
    match (what, phase) {
        (AssistKind::Ready { .. }, Phase::Starting) => Allowed,
        (AssistKind::Ready { .. }, Phase::Serving { .. }) | (_, Phase::Starting) => Fatal,
        (
            AssistKind::Settle
            | AssistKind::Arena(_)
            | AssistKind::Reader
            | AssistKind::File { .. }
            | AssistKind::Reason { .. }
            | AssistKind::Silence { .. }
            | AssistKind::Collision { .. },
            Phase::Serving { .. },
        ) => Allowed,
        // Opens come from the reader, which has seen the path.
        (AssistKind::Open { .. }, _) => Fatal,
        (
            AssistKind::Ioctl { .. }
            | AssistKind::Mmap { .. }
            | AssistKind::Exec
            | AssistKind::Opened { .. }
            | AssistKind::Inject { .. },
            Phase::Serving { decided },
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
    fn nothing_but_ready_before_ready_and_never_again() {
        let open = AssistKind::Open { flags: 0, reopened: None, device: None };
        assert_eq!(permit(Phase::Serving { decided: None }, 1, &open), Permit::Fatal);
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
            assert_eq!(permit(Phase::Starting, 1, kind), Permit::Fatal, "{kind:?}");
            assert_ne!(permit(Phase::Serving { decided: None }, 1, kind), Permit::Fatal, "{kind:?}");
        }
        let ready = AssistKind::Ready { heartbeat: kcov_proto::message::Heartbeat::default() };
        assert_eq!(permit(Phase::Starting, 0, &ready), Permit::Allowed);
        assert_eq!(permit(Phase::Serving { decided: None }, 0, &ready), Permit::Fatal);
    }

    #[test]
    fn one_decision_for_one_notification() {
        let decided = Phase::Serving { decided: Some(7) };
        assert_eq!(permit(decided, 7, &AssistKind::Exec), Permit::Fatal);
        assert_eq!(permit(decided, 8, &AssistKind::Exec), Permit::Once);
        assert_eq!(permit(decided, 7, &AssistKind::Settle), Permit::Allowed);
    }
}
