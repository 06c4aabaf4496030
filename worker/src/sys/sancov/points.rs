//! The index of each coverage point, for the bitmaps of `UNIQUE_ENABLE` ([`kcov_proto::unique`]).
//!
//! Points of instrumented modules are in a sparse table by PC: a directory with an entry for each 2^20 PCs,
//! and pages of cells with a cell for each [`SPACING`] PCs. Two points are further apart than that, so a cell
//! belongs to at most one of them. It also contains the low bits of the point's PC: a PC beside the point,
//! for example that of a call that the search for calls did not find, has no index.
//!
//! The table is filled when this process first collects with a bitmap, which few do. Each process fills it in
//! the same way, from what the zygote has loaded.

use super::registry;
use crate::sys::image;
use crate::sys::site::sites;
use kcov_proto::region::SCALE;
use kcov_proto::site::{ID_BASE, OFFSET, SPACING, TEXT_END, TEXT_START};
use kcov_proto::trace_calls::TRACE_PC;
use kcov_proto::unique::{FIRST, HEARTBEAT, number_of_site};
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// A guard contains the low half of its PC; this is the high half.
const HIGH_HALF: u64 = TEXT_START & !0xffff_ffff;

/// Returns the PC that a guard contains, once it has one.
#[inline(always)]
pub(super) fn pc_of_guard(guard: &AtomicU32) -> Option<u64> {
    let low = guard.load(Ordering::Relaxed);
    (low != 0).then_some(HIGH_HALF | u64::from(low))
}

/// log2 of the number of PCs of a directory entry.
const PAGE_BITS: u32 = 20;
/// Number of directory entries: for all values of the low half of a PC, so that no index is out of bounds.
const ENTRIES: usize = 1 << (u32::BITS - PAGE_BITS);
/// Number of cells of a page.
const CELLS: usize = (1 << PAGE_BITS) / SPACING as usize;

/// Low bits of a PC that a cell contains.
const LOW: u32 = SPACING as u32 - 1;
/// Highest number of a point that fits into a cell.
const MOST: u64 = (u32::MAX / SPACING as u32) as u64;

const _: () = assert!(TEXT_END >> 32 == TEXT_START >> 32);

/// Cells: 0 if empty, otherwise index * SPACING + low bits of the PC, the lowest of them inverted. So the low
/// bits of an empty cell do not match the PC of a point, which is even.
type Page = [AtomicU32; CELLS];

/// The page of all entries that have no other.
static EMPTY: Page = [const { AtomicU32::new(0) }; CELLS];
static DIRECTORY: [AtomicPtr<Page>; ENTRIES] =
    [const { AtomicPtr::new((&raw const EMPTY).cast_mut()) }; ENTRIES];
/// Indices of the points that are not in the table.
#[derive(Clone, Copy, Debug)]
struct Others {
    /// Index of the first site.
    sites: u64,
    /// Index of the explicit id 0.
    ids: u64,
}

/// Set once the table is filled.
static OTHERS: OnceLock<Others> = OnceLock::new();
/// The PC of the heartbeat, once it is known.
static HEARTBEAT_PC: AtomicU64 = AtomicU64::new(0);

/// Sets the PC of the heartbeat.
pub fn set_heartbeat(pc: u64) {
    HEARTBEAT_PC.store(pc, Ordering::Relaxed);
}

/// Fills the table.
pub fn number() {
    OTHERS.get_or_init(|| {
        let mut next = FIRST;
        image::each(|image| {
            let Some(text) = image.text() else { return };
            let Some(base) = registry::pcs_of(text.start.wrapping_add(image.bias())).base() else { return };
            let callback = super::calls::__sanitizer_cov_trace_pc as *const () as u64;
            let calls = image.calls(TRACE_PC, callback).into_iter();
            let calls = calls.filter(|to| text.contains(to)).map(|to| base + (to - text.start) * SCALE);
            let guards = registry::guards_of(image).iter().filter_map(pc_of_guard);
            for pc in calls.chain(guards) {
                set(pc, next);
                next += 1;
            }
        });
        Others { sites: next, ids: next + sites() }
    });
}

/// Returns the index of the point in instrumented code that has this PC. For another PC, the index may be 0,
/// which belongs to no point.
#[inline]
pub fn index_of_instrumented(pc: u64) -> Option<u64> {
    // Relaxed: this thread has called `number`, which wrote the table or waited for it.
    let page = entry(pc).load(Ordering::Relaxed);
    // SAFETY: `EMPTY`, or a page that `set` made, which is never freed.
    let cell = unsafe { &*page }[cell(pc)].load(Ordering::Relaxed);
    let is_point = (cell ^ 1 ^ pc as u32) & LOW == 0;
    is_point.then_some(u64::from(cell / SPACING as u32))
}

/// Returns the index of the point with this PC, if it has one.
pub fn index_of(pc: u64) -> Option<u64> {
    if let Some(index) = index_of_instrumented(pc).filter(|index| *index >= FIRST) {
        return Some(index);
    }
    if pc == HEARTBEAT_PC.load(Ordering::Relaxed) {
        return Some(HEARTBEAT);
    }
    let others = OTHERS.get()?;
    if let Some(number) = number_of_site(pc) {
        return (number < sites()).then_some(others.sites + number);
    }
    let at = pc.checked_sub(ID_BASE).filter(|at| at % SPACING == OFFSET)?;
    Some(others.ids + at / SPACING)
}

fn entry(pc: u64) -> &'static AtomicPtr<Page> {
    &DIRECTORY[(pc as u32 >> PAGE_BITS) as usize]
}

fn cell(pc: u64) -> usize {
    (pc / SPACING) as usize % CELLS
}

/// Gives a point its index. The caller is initialising [`OTHERS`].
fn set(pc: u64, index: u64) {
    if index >= MOST {
        return;
    }
    let mut page = entry(pc).load(Ordering::Relaxed);
    if std::ptr::eq(page, &EMPTY) {
        let layout = Layout::new::<Page>();
        // SAFETY: the size is not 0. Zeros are valid cells.
        page = unsafe { alloc_zeroed(layout) }.cast();
        if page.is_null() {
            handle_alloc_error(layout);
        }
        entry(pc).store(page, Ordering::Relaxed);
    }
    // SAFETY: the page was allocated above, now or earlier, and is never freed.
    let cell = &unsafe { &*page }[cell(pc)];
    if cell.load(Ordering::Relaxed) == 0 {
        cell.store(index as u32 * SPACING as u32 + ((pc as u32 ^ 1) & LOW), Ordering::Relaxed);
    }
}
