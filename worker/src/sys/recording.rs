//! The area that is armed for a thread.
//!
//! Invariant: a thread's pointer is null, or points to a [`Scope`] on the stack of the [`Scope::enter`] or
//! [`Scope::cover`] that runs in this thread now. Only these two, [`Scope::aside`] and the drop of the scope that they made,
//! write the pointer. They pass on a shared reference at most and keep the scope, so safe code can neither
//! forget nor move it, and it outlives every call from within. A scope does not leave its thread. The copy
//! for code in assembly (`armed`) is set together with the pointer, and nowhere else.
//!
//! In a run that accumulates coverage, one scope encloses all others ([`Scope::cover`]), and every scope has
//! the map in which PCs are marked. In other runs this costs a branch that is never taken.
//!
//! An area may also have a bitmap of the points that it has already, or several writers ([`Trace`]). Other
//! areas pay nothing for that: for the fast path, such an area is always full, and the slow path does the rest.
//! Only a bitmap without a map and without other writers has a path of its own.

use super::sancov::points;
use super::sancov::text::Text;
use kcov_proto::abi::TraceMode;
use kcov_proto::area::{Appended, Area, CmpKind, CmpRecord};
use kcov_proto::cover_map::CoverMap;
use kcov_proto::sync::{AtomicU64, Ordering};
use kcov_proto::unique::{Bit, Trace};
use std::cell::Cell;
use std::ptr;

/// Number of records of one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Stored in the area. A client may have reset it since.
    pub stored: u64,
    /// Dropped because the area was full.
    pub lost: u64,
    /// Dropped because the bitmap of the area has them already.
    pub suppressed: u64,
}

/// How PCs are handled.
#[derive(Clone, Copy, Debug)]
enum Way<'a> {
    /// They are appended.
    Plain,
    /// They are marked in this map, then appended.
    Marked(CoverMap<'a>),
    /// They are appended if the bitmap does not have them.
    Unique,
}

/// An area that is armed for the current thread.
///
/// ```compile_fail
/// fn is_send<T: Send>() {}
/// is_send::<kcov_worker::record::Scope<'static>>();
/// ```
/// ```compile_fail
/// fn is_sync<T: Sync>() {}
/// is_sync::<kcov_worker::record::Scope<'static>>();
/// ```
#[derive(Debug)]
pub struct Scope<'a> {
    /// The area for the fast path: that of `trace`, or one that is always full.
    area: Area<'a>,
    way: Way<'a>,
    stored: Cell<u64>,
    lost: Cell<u64>,
    trace: Trace<'a>,
    suppressed: Cell<u64>,
    /// The module whose instrumented code recorded last.
    text: Cell<Text>,
    /// The pointers before this scope: PC, CMP, COVER. Raw pointers, so that a scope is neither `Send` nor
    /// `Sync`.
    previous: [*const Scope<'static>; 3],
}

/// The words of an area that is always full.
static FULL: [AtomicU64; 2] = [AtomicU64::new(u64::MAX >> 1), AtomicU64::new(0)];

fn full() -> Area<'static> {
    match Area::new(&FULL) {
        Some(area) => area,
        None => unreachable!("it has the words of the smallest area"),
    }
}

// One pointer for each mode: one comparison shows whether an area is armed in that mode. Without a destructor
// and with a constant initial value, such a variable is accessed by one load.
thread_local! {
    static PC: Cell<*const Scope<'static>> = const { Cell::new(ptr::null()) };
    static CMP: Cell<*const Scope<'static>> = const { Cell::new(ptr::null()) };
    /// The enclosing scope of [`Scope::cover`], which only marks, if there is one.
    static COVER: Cell<*const Scope<'static>> = const { Cell::new(ptr::null()) };
}

impl<'a> Scope<'a> {
    /// Runs `body` with an area armed for this thread, and restores what was armed before when `body` returns
    /// or unwinds. The counts are those of this scope only: records of an inner scope, which go to its own
    /// area, are not included.
    pub fn enter<R>(
        trace: impl Into<Trace<'a>>,
        mode: TraceMode,
        body: impl FnOnce(&Scope<'a>) -> R,
    ) -> (R, Recorded) {
        let trace = trace.into();
        if !trace.bitmap.is_empty() {
            points::number();
        }
        let cover = COVER.get();
        // SAFETY: null or, by the invariant of the module, a scope that `cover` keeps alive during this call.
        let map = unsafe { cover.as_ref() }.and_then(|cover| cover.map());
        let scope = Scope::new(trace, map);
        let armed = scope.pointer();
        let (pc, cmp) = match mode {
            TraceMode::Pc => (armed, ptr::null()),
            TraceMode::Cmp => (cover, armed),
        };
        collect_pcs(pc);
        CMP.set(cmp);
        let result = body(&scope);
        (result, scope.recorded())
    }

    /// Runs `body` with every PC of this thread marked in `map`, whether or not an area is armed, is full, or
    /// collects comparisons. An area that is armed already is disarmed meanwhile.
    pub fn cover<R>(map: CoverMap<'a>, body: impl FnOnce() -> R) -> R {
        let scope = Scope::new(full().into(), Some(map));
        COVER.set(scope.pointer());
        collect_pcs(scope.pointer());
        CMP.set(ptr::null());
        body()
    }

    /// Runs `body` with no area armed for this thread. In a run that accumulates coverage, PCs are still
    /// marked.
    pub fn aside<R>(body: impl FnOnce() -> R) -> R {
        let _scope = Scope::new(full().into(), None);
        collect_pcs(COVER.get());
        CMP.set(ptr::null());
        body()
    }

    fn new(trace: Trace<'a>, map: Option<CoverMap<'a>>) -> Self {
        let previous = [PC.get(), CMP.get(), COVER.get()];
        let [stored, lost, suppressed] = [const { Cell::new(0) }; 3];
        let text = Cell::new(Text::NONE);
        let way = match map {
            Some(map) => Way::Marked(map),
            None if !trace.bitmap.is_empty() && !trace.shared => Way::Unique,
            None => Way::Plain,
        };
        let area = if trace.shared || !trace.bitmap.is_empty() { full() } else { trace.area };
        Scope { area, way, stored, lost, trace, suppressed, text, previous }
    }

    fn map(&self) -> Option<CoverMap<'a>> {
        match self.way {
            Way::Marked(map) => Some(map),
            Way::Plain | Way::Unique => None,
        }
    }

    /// Returns a pointer without the lifetime, which the invariant of the module replaces.
    fn pointer(&self) -> *const Scope<'static> {
        ptr::from_ref(self).cast()
    }

    /// Returns the number of records so far.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let Scope { stored, lost, suppressed, .. } = self;
        Recorded { stored: stored.get(), lost: lost.get(), suppressed: suppressed.get() }
    }

    /// Returns whether the area has no record, although none of this scope was suppressed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trace.area.count() == 0 && self.suppressed.get() == 0
    }

    // `always`: the compiler would not inline it in a branch that is marked as rare.
    #[inline(always)]
    fn append_pc(&self, pc: u64) {
        match self.way {
            Way::Plain => {}
            Way::Marked(map) => {
                is_rare();
                if !map.is_marked(pc) {
                    return Scope::append_pc_beyond(pc, self);
                }
            }
            Way::Unique => {
                is_rare();
                return Scope::append_pc_unique(pc, self);
            }
        }
        if self.area.append_pc_within(pc) {
            self.count(Appended::Stored);
        } else {
            Scope::append_pc_beyond(pc, self);
        }
    }

    /// As [`store_pc_or`], for a scope that is known to be armed for PCs.
    #[inline(always)]
    pub(super) fn store_pc_or(&self, pc: impl FnOnce(&Cell<Text>) -> Option<u64>, otherwise: impl FnOnce()) {
        if cfg!(not(feature = "record")) {
            return;
        }
        match pc(&self.text) {
            // Not only in `append_pc_unique`, to which this would be another jump.
            Some(pc) if self.is_unique() && self.has_instrumented(pc) => self.suppress(),
            Some(pc) => self.append_pc(pc),
            None => otherwise(),
        }
    }

    /// Handles a PC for an area with a bitmap. Here and below, functions are out of line, in tail position, and
    /// have the arguments in the order in which their callers have them: so the faster path saves and moves no
    /// register.
    #[inline(never)]
    fn append_pc_unique(pc: u64, scope: &Self) {
        match scope.has_instrumented(pc) {
            true => scope.suppress(),
            false => Scope::append_pc_beyond(pc, scope),
        }
    }

    /// Handles a PC that is not marked yet, or that the fast path has no room for.
    #[cold]
    #[inline(never)]
    fn append_pc_beyond(pc: u64, scope: &Self) {
        if let Some(map) = scope.map() {
            map.mark(pc);
        }
        let Trace { area, bitmap, shared } = scope.trace;
        if bitmap.is_empty() {
            return scope.count(if shared { area.append_pc_shared(pc) } else { area.append_pc(pc) });
        }
        match points::index_of(pc) {
            Some(index) if scope.has(index) => scope.suppress(),
            index => Scope::append_new_pc(pc, scope, index),
        }
    }

    #[inline(always)]
    fn is_unique(&self) -> bool {
        let is_unique = matches!(self.way, Way::Unique);
        if is_unique {
            is_rare();
        }
        is_unique
    }

    /// Returns whether the bitmap has the point in instrumented code with this PC.
    #[inline(always)]
    fn has_instrumented(&self, pc: u64) -> bool {
        points::index_of_instrumented(pc).is_some_and(|index| self.has(index))
    }

    /// Returns whether the bitmap has the point with this index.
    #[inline(always)]
    fn has(&self, index: u64) -> bool {
        let Bit { word, mask } = Bit::of_index(index);
        let word = self.trace.bitmap.get(word as usize);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & mask != 0)
    }

    fn suppress(&self) {
        self.suppressed.set(self.suppressed.get() + 1);
    }

    /// Appends a PC that the bitmap does not have, and adds it there. A PC that finds no room is not added, so
    /// that a client that reads the trace and goes on sees it later.
    #[cold]
    #[inline(never)]
    fn append_new_pc(pc: u64, scope: &Self, index: Option<u64>) {
        let Trace { area, bitmap, shared } = scope.trace;
        let bit = index.map(Bit::of_index);
        let bit = bit.and_then(|Bit { word, mask }| Some((bitmap.get(word as usize)?, mask)));
        if !shared {
            let appended = area.append_pc(pc);
            if let Some((word, mask)) = bit
                && appended == Appended::Stored
            {
                // Not a load and a store: these could undo a reset by the client.
                word.fetch_or(mask, Ordering::Relaxed);
            }
            return scope.count(appended);
        }
        // Another writer may have the same PC: the one that sets the bit appends it.
        if bit.is_some_and(|(word, mask)| word.fetch_or(mask, Ordering::Relaxed) & mask != 0) {
            return scope.suppress();
        }
        let appended = area.append_pc_shared(pc);
        if let Some((word, mask)) = bit
            && appended == Appended::Lost
        {
            word.fetch_and(!mask, Ordering::Relaxed);
        }
        scope.count(appended);
    }

    #[inline(always)]
    fn append_cmp(&self, record: CmpRecord) {
        match self.area.append_cmp(record) {
            Appended::Stored => self.count(Appended::Stored),
            Appended::Lost => {
                Scope::append_cmp_beyond(record.kind, record.arg1, record.arg2, record.pc, self)
            }
        }
    }

    /// Handles a comparison that the fast path has no room for. All arguments are in registers.
    #[cold]
    #[inline(never)]
    fn append_cmp_beyond(kind: CmpKind, arg1: u64, arg2: u64, pc: u64, scope: &Self) {
        let Trace { area, shared, .. } = scope.trace;
        let record = CmpRecord { kind, arg1, arg2, pc };
        scope.count(if shared { area.append_cmp_shared(record) } else { area.append_cmp(record) });
    }

    #[inline]
    fn count(&self, appended: Appended) {
        let counter = match appended {
            Appended::Stored => &self.stored,
            Appended::Lost => &self.lost,
        };
        counter.set(counter.get() + 1);
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        let Self {
            area: _,
            way: _,
            stored: _,
            lost: _,
            trace: _,
            suppressed: _,
            text: _,
            previous: [pc, cmp, cover],
        } = self;
        collect_pcs(*pc);
        CMP.set(*cmp);
        COVER.set(*cover);
    }
}

/// Arms `scope` for PCs; null disarms.
fn collect_pcs(scope: *const Scope<'static>) {
    PC.set(scope);
    #[cfg(target_arch = "x86_64")]
    super::armed::set(scope.cast());
}

/// Marks a branch as rare, so that the compiler moves it out of the straight path. Recording calls should
/// cost little in a handler that is not traced, and marking should cost little in a run without it; the other
/// cases pay a jump.
#[cold]
#[inline]
pub fn is_rare() {}

/// Returns whether PCs are collected.
#[inline]
#[must_use]
pub fn collects_pcs() -> bool {
    cfg!(feature = "record") && !PC.get().is_null()
}

/// Returns whether the current call has recorded a PC; `None` if its caller collects none.
#[must_use]
pub fn has_recorded() -> Option<bool> {
    let armed = PC.get();
    if std::ptr::eq(armed, COVER.get()) {
        return None;
    }
    // SAFETY: null or, by the invariant of the module, a scope that `enter` keeps alive during this call.
    unsafe { armed.as_ref() }.map(|scope| scope.recorded() != Recorded::default())
}

/// Returns whether comparisons are collected.
#[inline]
#[must_use]
pub fn collects_cmps() -> bool {
    cfg!(feature = "record") && !CMP.get().is_null()
}

/// Appends the PC that `pc` returns, if PCs are collected.
#[inline]
pub fn store_pc(pc: impl FnOnce() -> u64) {
    if cfg!(not(feature = "record")) {
        return;
    }
    // SAFETY: null or, by the invariant of the module, a scope that `enter` keeps alive during this call.
    if let Some(scope) = unsafe { PC.get().as_ref() } {
        is_rare();
        scope.append_pc(pc());
    }
}

/// As [`store_pc`], but `pc` gets the module that recorded last. If it returns `None`, the PC is not known,
/// and `otherwise` runs.
#[inline]
pub fn store_pc_or(pc: impl FnOnce(&Cell<Text>) -> Option<u64>, otherwise: impl FnOnce()) {
    if cfg!(not(feature = "record")) {
        return;
    }
    // SAFETY: as in `store_pc`.
    if let Some(scope) = unsafe { PC.get().as_ref() } {
        is_rare();
        scope.store_pc_or(pc, otherwise);
    }
}

/// Appends the comparison that `record` returns, if comparisons are collected.
#[inline]
pub fn store_cmp(record: impl FnOnce() -> CmpRecord) {
    if cfg!(not(feature = "record")) {
        return;
    }
    // SAFETY: as in `store_pc`.
    if let Some(scope) = unsafe { CMP.get().as_ref() } {
        scope.append_cmp(record());
    }
}

/// As [`store_cmp`], but `record` gets the module that recorded last. If it returns `None`, the PC is not
/// known, and `otherwise` runs.
#[inline]
pub fn store_cmp_or(record: impl FnOnce(&Cell<Text>) -> Option<CmpRecord>, otherwise: impl FnOnce()) {
    if cfg!(not(feature = "record")) {
        return;
    }
    // SAFETY: as in `store_pc`.
    if let Some(scope) = unsafe { CMP.get().as_ref() } {
        match record(&scope.text) {
            Some(record) => scope.append_cmp(record),
            None => otherwise(),
        }
    }
}
