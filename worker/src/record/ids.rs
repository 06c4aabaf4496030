//! The explicit ids that this process has recorded, so that two with one PC are told of.
//!
//! Which ids a handler makes up is known only as it records them. One that is known costs one look into a table.

use kcov_proto::site::{SPACING, pc_of_id};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Ids that are remembered; others are not looked at. A power of two.
const MOST: usize = 1 << 14;
/// Places in which an id may stand.
const PROBES: usize = 8;
/// Collisions that are told in the life of a process.
const MOST_TOLD: usize = 16;

/// Two explicit ids with one PC, which are one point to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collision {
    /// They, in the order in which they were recorded first.
    pub ids: [u64; 2],
    /// The PC.
    pub pc: u64,
}

/// The ids, inverted: so that 0, which is a likely one, is no empty place. [`u64::MAX`] is never remembered.
static SEEN: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];

/// Collisions so far.
struct Collisions {
    found: Vec<Collision>,
    told: usize,
}

static COLLISIONS: Mutex<Collisions> = Mutex::new(Collisions { found: Vec::new(), told: 0 });
static HAS_NEWS: AtomicBool = AtomicBool::new(false);

/// The PC of an id that is recorded, and remembered.
#[inline]
pub(super) fn pc_of_recorded(id: u64) -> u64 {
    let pc = pc_of_id(id);
    if SEEN[place(pc, 0)].load(Ordering::Relaxed) != !id {
        remember(id, pc);
    }
    pc
}

/// Collisions that were not asked for before.
#[must_use]
pub fn new_collisions() -> Vec<Collision> {
    // First without the lock: it is asked after each call.
    if !HAS_NEWS.load(Ordering::Relaxed) {
        return Vec::new();
    }
    let mut collisions = COLLISIONS.lock().unwrap_or_else(PoisonError::into_inner);
    HAS_NEWS.store(false, Ordering::Relaxed);
    let new = collisions.found[collisions.told..].to_vec();
    collisions.told = collisions.found.len();
    new
}

#[inline]
fn place(pc: u64, probe: usize) -> usize {
    ((pc / SPACING) as usize).wrapping_add(probe) % MOST
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
    if collisions.found.len() < MOST_TOLD && !collisions.found.contains(&collision) {
        collisions.found.push(collision);
        HAS_NEWS.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcov_proto::site::ID_BITS;

    /// Those of ids that no other test records.
    fn of(ids: &[u64]) -> Vec<[u64; 2]> {
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
        assert_eq!(of(&[ONE, OTHER]), [[ONE, OTHER]]);
        let told: Vec<_> = std::iter::repeat_with(new_collisions).take(3).flatten().collect();
        assert_eq!(told.iter().filter(|collision| collision.ids == [ONE, OTHER]).count(), 1);
    }

    #[test]
    fn ids_with_pcs_of_their_own_do_not_collide() {
        // As many stand in one place of the table as are remembered, and more.
        let ids: Vec<u64> = (0..2 * PROBES as u64).map(|turn| 0x77 + turn * MOST as u64).collect();
        for id in ids.iter().chain(&ids) {
            pc_of_recorded(*id);
        }
        assert!(of(&ids).is_empty());
    }
}
