//! The recording API: what handlers call to record coverage.
//!
//! While a handler runs for a caller that collects coverage, an area is enabled for this thread
//! ([`Scope::enter`]). The functions here append to it. They do nothing if no area is enabled, or if it
//! collects the other kind of record. Without the feature `record`, all of them compile to nothing.
//!
//! | macro | records |
//! |---|---|
//! | [`kcov_edge!()`](crate::kcov_edge) | that this line was reached |
//! | [`kcov_edge!(id)`](crate::kcov_edge) | that the point with this explicit `u64` id was reached |
//! | [`kcov_edge_site!("name")`](crate::kcov_edge_site) | that this line was reached, under a name for reports |
//! | [`kcov_cmp!(size, is_const, a, b)`](crate::kcov_cmp) | a comparison on this line |
//! | [`kcov_cmp!(size, is_const, a, b, ip)`](crate::kcov_cmp) | a comparison at the given PC |
//! | [`kcov_cmp_site!("name", size, is_const, a, b)`](crate::kcov_cmp_site) | a comparison on this line, under a name |
//!
//! [`kcov_proto::site`] has the rule for the PC of a site, which depends only on the binary. If two explicit
//! ids, of one handler or of two, have the same PC, the log reports it ([`new_collisions`]).

mod ids;
#[macro_use]
mod macros;

pub use crate::sys::recording::{Recorded, Scope};
pub use crate::sys::site::pc_of_site;
pub use ids::{Collision, new_collisions};
pub use kcov_proto::area::CmpSize;
pub use kcov_proto::site::{Place, Site, SiteKind};

pub(crate) use crate::sys::recording::has_recorded;
use crate::sys::recording::{collects_pcs, is_rare, store_cmp, store_pc};
use kcov_proto::Errno;
use kcov_proto::area::{CmpKind, CmpRecord};
use kcov_proto::site::{TEXT_END, TEXT_START};

/// Records a PC as covered, for runtimes that assign PCs themselves.
///
/// # Errors
/// `EINVAL` outside [`TEXT_START`]`..=`[`TEXT_END`], even if nothing is recorded: clients discard the whole
/// trace for such a PC.
#[inline]
pub fn record_pc(pc: u64) -> Result<(), Errno> {
    check_pc(pc)?;
    store_pc(|| pc);
    Ok(())
}

/// Records a comparison of the low `size` bytes of `a` and `b` at the PC `ip`. If one is a constant of the
/// program, it must be `a`.
///
/// # Errors
/// `EINVAL` if `size` is not 1, 2, 4 or 8, or `ip` is outside [`TEXT_START`]`..=`[`TEXT_END`], even if
/// nothing is recorded.
#[inline]
pub fn record_cmp(size: u64, is_const: bool, a: u64, b: u64, ip: u64) -> Result<(), Errno> {
    let size = CmpSize::from_bytes(size).ok_or(Errno::EINVAL)?;
    check_pc(ip)?;
    store_cmp(|| comparison(size, is_const, a, b, ip));
    Ok(())
}

/// Records that `site` was reached.
#[inline]
pub fn record_edge_at(site: &'static Site) {
    store_pc(|| pc_of_site(site));
}

/// Records that the point with this explicit id was reached.
#[inline]
pub fn record_edge_id(id: u64) {
    if collects_pcs() {
        is_rare();
        record_armed_edge_id(id);
    }
}

/// Out of line and in tail position, so that callers save no registers when nothing is recorded.
#[inline(never)]
fn record_armed_edge_id(id: u64) {
    store_pc(|| ids::pc_of_recorded(id));
}

/// Records a comparison at the point with this explicit id. If one operand is a constant, it must be `a`.
#[inline]
pub fn record_cmp_id(id: u64, size: CmpSize, is_const: bool, a: u64, b: u64) {
    store_cmp(|| comparison(size, is_const, a, b, ids::pc_of_recorded(id)));
}

/// Records a comparison at `site`. If one operand is a constant, it must be `a`.
#[inline]
pub fn record_cmp_at(site: &'static Site, size: CmpSize, is_const: bool, a: u64, b: u64) {
    store_cmp(|| comparison(size, is_const, a, b, pc_of_site(site)));
}

/// FNV-1a hash of a name at compile time: an explicit id for [`kcov_edge!`](crate::kcov_edge).
#[must_use]
pub const fn kcov_hash64(name: &str) -> u64 {
    kcov_proto::site::fnv1a(name.as_bytes())
}

#[inline]
fn check_pc(pc: u64) -> Result<(), Errno> {
    if (TEXT_START..=TEXT_END).contains(&pc) { Ok(()) } else { Err(Errno::EINVAL) }
}

#[inline]
fn comparison(size: CmpSize, constant: bool, a: u64, b: u64, pc: u64) -> CmpRecord {
    CmpRecord { kind: CmpKind { size, constant }, arg1: size.truncate(a), arg2: size.truncate(b), pc }
}

/// The size argument of a macro.
///
/// # Panics
/// At compile time if it is not 1, 2, 4 or 8.
#[doc(hidden)]
#[must_use]
pub const fn macro_size(bytes: u64) -> CmpSize {
    match CmpSize::from_bytes(bytes) {
        Some(size) => size,
        None => panic!("the size of a comparison must be 1, 2, 4 or 8 bytes"),
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "the macros put sites in a link section, if recording is on")]
mod tests;
