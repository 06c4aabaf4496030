//! From the return address of a callback to a PC.
//!
//! The table only grows, and what is in it never changes: an entry is written whole before the count says that it is
//! there. A scope keeps the entry that it used last beside what it records into.

use kcov_proto::region::SCALE;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Modules that can be instrumented in one process.
const MOST: usize = 128;

/// The text of a module: addresses in this process, and the PC of the first.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) base: u64,
}

impl Text {
    /// In which there is no address.
    pub const NONE: Text = Text { start: 0, length: 0, base: 0 };

    /// The PC of a call that returns to `address`, if it is one of this module.
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
    // Release: pairs with the load in `find`, and comes after the entry.
    COUNT.store(count + 1, Ordering::Release);
    true
}

/// The module that a call is in that returns to `address`.
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
