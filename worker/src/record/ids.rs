//! Detects explicit ids that have the same PC.
//!
//! The ids of a handler are known only when it records them. So a table remembers them; recording a known id
//! costs one look-up.

use kcov_proto::site::{SPACING, pc_of_id};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Size of the table of ids. Further ids are not checked. A power of two.
const MAX_IDS: usize = 1 << 14;
/// Number of table entries in which an id may be.
const PROBES: usize = 8;
/// Most collisions that a process reports.
const MAX_REPORTED: usize = 16;

/// Two explicit ids with the same PC. Clients cannot distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The ids, in the order in which they were first recorded.
    pub ids: [u64; 2],
    /// Their PC.
    pub pc: u64,
}

/// The ids, inverted, because 0 marks an empty entry and is a likely id. [`u64::MAX`] is therefore never
/// remembered.
static SEEN: [AtomicU64; MAX_IDS] = [const { AtomicU64::new(0) }; MAX_IDS];

/// The collisions found so far.
struct Collisions {
    found: Vec<Collision>,
    reported: usize,
}

static COLLISIONS: Mutex<Collisions> = Mutex::new(Collisions { found: Vec::new(), reported: 0 });
static HAS_NEW: AtomicBool = AtomicBool::new(false);

/// Returns the PC of an id, and remembers the id.
#[inline]
pub(super) fn pc_of_recorded(id: u64) -> u64 {
    let pc = pc_of_id(id);
    if SEEN[place(pc, 0)].load(Ordering::Relaxed) != !id {
        remember(id, pc);
    }
    pc
}

/// Returns the collisions found since the last call.
#[must_use]
pub fn new_collisions() -> Vec<Collision> {
    // Checked without the lock first, because this runs after each call.
    if !HAS_NEW.load(Ordering::Relaxed) {
        return Vec::new();
    }
    let mut collisions = COLLISIONS.lock().unwrap_or_else(PoisonError::into_inner);
    HAS_NEW.store(false, Ordering::Relaxed);
    let new = collisions.found[collisions.reported..].to_vec();
    collisions.reported = collisions.found.len();
    new
}

#[inline]
fn place(pc: u64, probe: usize) -> usize {
    ((pc / SPACING) as usize).wrapping_add(probe) % MAX_IDS
}

#[cold]
#[inline(never)]
fn remember(id: u64, pc: u64) {
    for probe in 0..PROBES {
        let place = &SEEN[place(pc, probe)];
        match place.load(Ordering::Relaxed) {
            0 => return place.store(!id, Ordering::Relaxed),
            seen if seen == !id => return,
            seen if pc_of_id(!seen) == pc => return collide(Collision { ids: [!seen, id], pc }),
            _ => {}
        }
    }
}

fn collide(collision: Collision) {
    let mut collisions = COLLISIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if collisions.found.len() < MAX_REPORTED && !collisions.found.contains(&collision) {
        collisions.found.push(collision);
        HAS_NEW.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::site::ID_BITS;

    /// The collisions among these ids, which no other test records.
    fn collisions_of(ids: &[u64]) -> Vec<[u64; 2]> {
        let collisions = COLLISIONS.lock().unwrap();
        collisions
            .found
            .iter()
            .map(|found| found.ids)
            .filter(|found| found.iter().all(|id| ids.contains(id)))
            .collect()
    }

    #[test]
    fn two_ids_with_one_pc_are_found_once() {
        const ONE: u64 = 0x12_3456;
        const OTHER: u64 = ONE << ID_BITS;
        assert_eq!(pc_of_id(ONE), pc_of_id(OTHER));
        for id in [ONE, ONE, OTHER, ONE, OTHER] {
            assert_eq!(pc_of_recorded(id), pc_of_id(id));
        }
        assert_eq!(collisions_of(&[ONE, OTHER]), [[ONE, OTHER]]);
        let reported: Vec<_> = std::iter::repeat_with(new_collisions).take(3).flatten().collect();
        assert_eq!(reported.iter().filter(|collision| collision.ids == [ONE, OTHER]).count(), 1);
    }

    #[test]
    fn ids_with_pcs_of_their_own_do_not_collide() {
        // These ids compete for the same table entries, and there are more than fit.
        let ids: Vec<u64> = (0..2 * PROBES as u64).map(|turn| 0x77 + turn * MAX_IDS as u64).collect();
        for id in ids.iter().chain(&ids) {
            pc_of_recorded(*id);
        }
        assert!(collisions_of(&ids).is_empty());
    }
}
