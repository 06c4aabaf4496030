//! The live view: what brokers show of their tenants while they run, and those who look.
//!
//! | module | side | does |
//! |---|---|---|
//! | [`publisher`] | broker | writes the counters of its tenant into a segment, at each look at the workers |
//! | [`catalogue`] | reader | finds the segments of a machine, copies them, tells live ones from dead ones |
//! | [`tenant`], [`figures`] | reader | a tenant as readers show it |
//! | [`selection`] | reader | which tenants a command is about |
//! | [`status`], [`top`] | reader | `kcov-broker status` and `kcov-broker top` |
//! | [`metrics`], [`exporter`] | reader | `kcov-broker metrics`: text for Prometheus, kept in a file or behind a socket |
//!
//! A segment is a file in `/dev/shm`, `kcov-broker.UID.RUN`, laid out by [`kcov_proto::view`]. The broker makes it
//! before it gives up the right to open files, and its spawner removes the name when the broker is gone, however it
//! went. If both were killed the name stays; whoever looks sees that it is of a dead broker, and the next run of the
//! same user removes it.
//!
//! # Invariants
//! - The broker reads nothing back, and no reader can write: the file belongs to the broker's user and is writable by
//!   that user alone.
//! - Readers copy by `pread(2)`. They map nothing: a file that its owner cuts short would end who has it mapped by a
//!   SIGBUS, and is a short read for who has not.
//! - The broker's part is done at its ticks, never on behalf of a call.

pub mod catalogue;
pub mod exporter;
pub mod figures;
pub mod metrics;
pub mod publisher;
pub mod selection;
pub mod status;
pub mod tenant;
pub mod top;

use crate::sys::segment;
use nix::unistd::geteuid;

/// Where the names of shared memory are (`shm_overview(7)`).
pub const DIRECTORY: &str = "/dev/shm";
/// Removes the segments of dead brokers of this user, and as root of `everybody` if wanted. Says how many.
pub fn sweep(everybody: bool) -> usize {
    let Ok(found) = catalogue::scan() else { return 0 };
    let own = geteuid();
    let may = |uid: u32| own.as_raw() == uid || everybody && own.is_root();
    let dead = found.dead.iter().filter(|dead| may(dead.uid));
    dead.filter(|dead| segment::remove(&dead.segment).is_ok()).count()
}
