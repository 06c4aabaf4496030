//! The PC of a return address.
//!
//! The table only grows, and its entries never change: an entry is complete before the count includes it. A
//! scope keeps a copy of the entry that it used last.

use kcov_proto::region::SCALE;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Most instrumented modules of one process.
const MOST: usize = 128;

/// The text of a module: its addresses in this process, and the PC of the first one.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) base: u64,
}

impl Text {
    /// Contains no address.
    pub const NONE: Text = Text { start: 0, length: 0, base: 0 };

    /// Returns the PC of a call that returns to `address`, if that is in this module.
    #[inline]
    pub(super) fn pc(self, address: u64) -> Option<u64> {
        let at = address.wrapping_sub(self.start);
        (at < self.length).then(|| self.base + at * SCALE)
    }
}

struct Entry {
    start: AtomicU64,
    length: AtomicU64,
    base: AtomicU64,
}

static TABLE: [Entry; MOST] =
    [const { Entry { start: AtomicU64::new(0), length: AtomicU64::new(0), base: AtomicU64::new(0) } }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Adds a module; `false` if there are too many. One caller at a time.
pub(super) fn add(text: Text) -> bool {
    let count = COUNT.load(Ordering::Relaxed);
    let Some(entry) = TABLE.get(count) else { return false };
    entry.start.store(text.start, Ordering::Relaxed);
    entry.length.store(text.length, Ordering::Relaxed);
    entry.base.store(text.base, Ordering::Relaxed);
    // Release: pairs with the load in `find`, which then sees the entry.
    COUNT.store(count + 1, Ordering::Release);
    true
}

/// Returns the module of a call that returns to `address`.
pub(super) fn find(address: u64) -> Option<Text> {
    // Acquire: pairs with the store in `add`.
    let count = COUNT.load(Ordering::Acquire);
    let text = |entry: &Entry| Text {
        start: entry.start.load(Ordering::Relaxed),
        length: entry.length.load(Ordering::Relaxed),
        base: entry.base.load(Ordering::Relaxed),
    };
    TABLE.iter().take(count).map(text).find(|text| text.pc(address).is_some())
}
