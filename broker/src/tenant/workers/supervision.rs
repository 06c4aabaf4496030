//! When a worker is ended: a pure function from what a look showed to what is to be done.
//!
//! The invariant: a worker that holds no call is never ended for being late. It is ended only if it does not receive calls
//! that wait, or if a call that no slot shows stays unanswered ([`overdue`](crate::tenant::calls::overdue)).

use super::watch::SlotView;
use crate::tenant::calls::Look;
use kcov_proto::slot::Phase;
use std::time::Duration;

/// The usual reason for ending a worker.
pub const PAST_DEADLINE: &str = "past its deadline";
/// It is idle, and calls wait that it does not receive.
pub const TAKES_NO_CALL: &str = "does not receive calls";
/// A call that no slot shows stays unanswered.
pub const KEEPS_A_CALL: &str = "does not answer a call";
/// It closed its socket to the broker, which it needs.
const HUNG_UP: &str = "closed its socket";

/// A worker at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Its slot.
    pub slot: SlotView,
    /// How long it has been at the same call, or in the same wait.
    pub stalled: Duration,
    /// It was asked where it is, and will be ended.
    pub is_asked: bool,
    /// It closed its socket.
    pub hung_up: bool,
}

/// What is around all workers of a tenant at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The listener.
    pub calls: Look,
    /// A reader was just ended: a worker that waits for it needs a moment to notice.
    pub reader_ended: bool,
    /// The tenant has handlers, whose stack is worth asking for before the worker is killed.
    pub has_handlers: bool,
    /// Longest that a call may take.
    pub deadline: Duration,
}

/// What is to be done with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Leave,
    /// Its deadline starts again.
    Restart,
    /// Ask it where it is; kill it once it answered.
    Interrupt(&'static str),
    /// Kill it.
    Kill(&'static str),
}

/// Decides what is to be done with a worker.
#[must_use]
pub fn decide(worker: &Observation, around: &Surroundings) -> Decision {
    let Observation { slot, stalled, is_asked, hung_up } = *worker;
    let Surroundings { calls, reader_ended, has_handlers, deadline } = *around;
    if hung_up {
        return Decision::Kill(HUNG_UP);
    }
    if slot.is_idle() {
        return match calls {
            Look { waiting: true, .. } if stalled >= deadline => Decision::Kill(TAKES_NO_CALL),
            Look { waiting: true, .. } => Decision::Leave,
            // Calls without an answer are with the reader or the broker, which have deadlines of their own.
            Look { waiting: false, .. } => Decision::Restart,
        };
    }
    if slot.phase() == Some(Phase::Reading) && reader_ended {
        return Decision::Restart;
    }
    match stalled < deadline && !is_asked {
        true => Decision::Leave,
        false if has_handlers => Decision::Interrupt(PAST_DEADLINE),
        false => Decision::Kill(PAST_DEADLINE),
    }
}

#[cfg(test)]
mod tests {
    use super::super::watch::Watch;
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

    const DEADLINE: Duration = Duration::from_secs(4);
    const IDLE: SlotView = SlotView { id: 0, taken: 3, phase: Phase::Waiting as u64 };
    const BUSY: SlotView = SlotView { id: 7, taken: 4, phase: Phase::Handling as u64 };

    fn around(waiting: bool, unanswered: bool) -> Surroundings {
        let calls = Look { waiting, unanswered };
        Surroundings { calls, reader_ended: false, has_handlers: true, deadline: DEADLINE }
    }

    /// What happens to a worker that shows `slot` from a first look on, at each second: the first decision that ends it.
    fn end(slot: SlotView, around: &Surroundings) -> Option<(u64, Decision)> {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        (0..20).find_map(|second| {
            let now = start + Duration::from_secs(second);
            watch.look(slot, now);
            let stalled = watch.stalled(now);
            let seen = Observation { slot, stalled, is_asked: false, hung_up: false };
            match decide(&seen, around) {
                Decision::Leave => None,
                Decision::Restart => {
                    watch.restart(now);
                    None
                }
                decision => Some((second, decision)),
            }
        })
    }

    #[test]
    fn a_worker_ends_at_the_deadline_of_its_call() {
        assert_eq!(end(BUSY, &around(false, true)), Some((4, Decision::Interrupt(PAST_DEADLINE))));
        let bare = Surroundings { has_handlers: false, ..around(true, true) };
        assert_eq!(end(BUSY, &bare), Some((4, Decision::Kill(PAST_DEADLINE))));
    }

    #[test]
    fn an_idle_worker_stays() {
        assert_eq!(end(IDLE, &around(false, false)), None);
    }

    #[test]
    fn an_idle_worker_ends_if_it_receives_nothing() {
        assert_eq!(end(IDLE, &around(true, false)), Some((4, Decision::Kill(TAKES_NO_CALL))));
        assert_eq!(end(IDLE, &around(false, true)), None, "the reader's deadline counts");
    }

    #[test]
    fn a_worker_has_time_to_notice_that_its_reader_ended() {
        let reading = SlotView { phase: Phase::Reading as u64, ..BUSY };
        let ended = Surroundings { reader_ended: true, ..around(false, true) };
        assert_eq!(end(reading, &ended), None);
        assert_eq!(end(reading, &around(false, true)), Some((4, Decision::Interrupt(PAST_DEADLINE))));
    }

    #[test]
    fn a_call_in_the_slot_counts_whatever_the_phase_says() {
        let stopped = SlotView { phase: Phase::Waiting as u64, ..BUSY };
        assert!(end(stopped, &around(false, true)).is_some_and(|(second, _)| second == 4));
    }

    proptest! {
        /// A worker that holds nothing is never ended for being late, and never before a deadline has passed.
        #[test]
        fn an_idle_worker_is_never_late(
            milliseconds in 0..100_000_u64, waiting: bool, unanswered: bool, reader_ended: bool, is_asked: bool,
        ) {
            let stalled = Duration::from_millis(milliseconds);
            let seen = Observation { slot: IDLE, stalled, is_asked, hung_up: false };
            let decision = decide(&seen, &Surroundings { reader_ended, ..around(waiting, unanswered) });
            let is_late = matches!(decision, Decision::Interrupt(_) | Decision::Kill(PAST_DEADLINE));
            prop_assert!(!is_late);
            prop_assert!(stalled >= DEADLINE || !matches!(decision, Decision::Kill(_)));
        }
    }
}
