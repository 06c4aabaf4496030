//! The area that is armed for a thread, and the addresses of the link section of sites.
//!
//! Invariant: a thread's pointer is null, or leads to a [`Scope`] on the stack of the [`Scope::enter`] that runs in
//! this thread now. `enter` is the only writer, besides the drop of the scope that it made; it hands out a shared
//! reference and keeps the scope itself, so that safe code can neither forget nor move it, and it outlives
//! every call from within. No scope leaves its thread. The copy for code in assembly (`armed`) is set with
//! the pointer itself, and nowhere else.
//!
//! In a run that accumulates coverage there is a scope around all others ([`Scope::cover`]), and every scope has the map in
//! which PCs are marked. A run without pays a branch that is never taken.

use super::sancov::Text;
use kcov_proto::abi::TraceMode;
use kcov_proto::area::{Appended, Area, CmpRecord};
use kcov_proto::cover_map::CoverMap;
use kcov_proto::site::{self, Site};
use kcov_proto::sync::AtomicU64;
use std::cell::Cell;
use std::ptr;

/// Records of one scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// In the area, as far as we know: a client resets when it likes.
    pub stored: u64,
    /// Dropped, as the area was full.
    pub lost: u64,
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
    area: Area<'a>,
    map: Option<CoverMap<'a>>,
    stored: Cell<u64>,
    lost: Cell<u64>,
    /// The module whose instrumented code recorded last.
    text: Cell<Text>,
    /// What was there before: PC, CMP, COVER. Raw pointers, so that a scope is neither `Send` nor `Sync`.
    previous: [*const Scope<'static>; 3],
}

/// An area that is full, whatever is appended.
static FULL: [AtomicU64; 2] = [AtomicU64::new(u64::MAX >> 1), AtomicU64::new(0)];

fn full() -> Area<'static> {
    match Area::new(&FULL) {
        Some(area) => area,
        None => unreachable!("it has the words of the smallest area"),
    }
}

// One pointer a mode: to ask whether anything is armed, and whether the mode is right, is one comparison. Without a
// destructor and with a constant to start from, such a variable is one load away.
thread_local! {
    static PC: Cell<*const Scope<'static>> = const { Cell::new(ptr::null()) };
    static CMP: Cell<*const Scope<'static>> = const { Cell::new(ptr::null()) };
    /// The scope around all others that only marks, if there is one.
    static COVER: Cell<*const Scope<'static>> = const { Cell::new(ptr::null()) };
}

impl<'a> Scope<'a> {
    /// Runs `body` with `area` armed for this thread, and arms what was armed before when `body` returns or unwinds.
    /// The counts are of this scope alone: what an inner one records, into its own area, is not among them.
    pub fn enter<R>(area: Area<'a>, mode: TraceMode, body: impl FnOnce(&Scope<'a>) -> R) -> (R, Recorded) {
        let cover = COVER.get();
        // SAFETY: null or, by the invariant of the module, a scope that `cover` keeps alive during this call.
        let map = unsafe { cover.as_ref() }.and_then(|cover| cover.map);
        let scope = Scope::new(area, map);
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

    /// Runs `body` with every PC of this thread marked in `map`, be an area armed for it or not, be that full, be it for
    /// comparisons. An area that is armed already is not, meanwhile.
    pub fn cover<R>(map: CoverMap<'a>, body: impl FnOnce() -> R) -> R {
        let scope = Scope::new(full(), Some(map));
        COVER.set(scope.pointer());
        collect_pcs(scope.pointer());
        CMP.set(ptr::null());
        body()
    }

    fn new(area: Area<'a>, map: Option<CoverMap<'a>>) -> Self {
        let previous = [PC.get(), CMP.get(), COVER.get()];
        let (stored, lost, text) = (Cell::new(0), Cell::new(0), Cell::new(Text::NONE));
        Scope { area, map, stored, lost, text, previous }
    }

    /// The lifetime is dropped from the pointer's type; the invariant of the module stands in for it.
    fn pointer(&self) -> *const Scope<'static> {
        ptr::from_ref(self).cast()
    }

    /// What it has recorded so far.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        Recorded { stored: self.stored.get(), lost: self.lost.get() }
    }

    // Always: in a branch that is said to be rare, it would not be otherwise.
    #[inline(always)]
    fn append_pc(&self, pc: u64) {
        if let Some(map) = self.map {
            is_rare();
            if !map.is_marked(pc) {
                return Scope::append_pc_beyond(pc, self);
            }
        }
        if self.area.append_pc_within(pc) {
            self.count(Appended::Stored);
        } else {
            Scope::append_pc_beyond(pc, self);
        }
    }

    /// As [`store_pc_or`], of a scope that is known to be armed for PCs.
    #[inline(always)]
    pub(super) fn store_pc_or(&self, pc: impl FnOnce(&Cell<Text>) -> Option<u64>, otherwise: impl FnOnce()) {
        if cfg!(not(feature = "record")) {
            return;
        }
        match pc(&self.text) {
            Some(pc) => self.append_pc(pc),
            None => otherwise(),
        }
    }

    /// A PC that is not marked yet, or has no room. Out of line, the last thing that the hot path does, and with `pc`
    /// first, where a callback has it already: so that the hot path saves and moves no register.
    #[cold]
    #[inline(never)]
    fn append_pc_beyond(pc: u64, scope: &Self) {
        if let Some(map) = scope.map {
            map.mark(pc);
        }
        scope.count(scope.area.append_pc(pc));
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
        let Self { area: _, map: _, stored: _, lost: _, text: _, previous: [pc, cmp, cover] } = self;
        collect_pcs(*pc);
        CMP.set(*cmp);
        COVER.set(*cover);
    }
}

/// Arms `scope` for PCs, or nothing if it is null.
fn collect_pcs(scope: *const Scope<'static>) {
    PC.set(scope);
    #[cfg(target_arch = "x86_64")]
    super::armed::set(scope);
}

/// Tells the compiler which way to lay out as the straight one. A handler that nobody traces should hardly notice its
/// recording calls, nor one that is traced that a run may mark PCs; the others pay a jump.
#[cold]
#[inline]
pub fn is_rare() {}

/// Whether PCs are collected, for what is worth a call of its own only then.
#[inline]
#[must_use]
pub fn collects_pcs() -> bool {
    cfg!(feature = "record") && !PC.get().is_null()
}

/// Whether the call at hand has recorded a PC; `None` if its caller collects none.
#[must_use]
pub fn has_recorded() -> Option<bool> {
    let armed = PC.get();
    if std::ptr::eq(armed, COVER.get()) {
        return None;
    }
    // SAFETY: null or, by the invariant of the module, a scope that `enter` keeps alive during this call.
    unsafe { armed.as_ref() }.map(|scope| scope.recorded() != Recorded::default())
}

/// Whether comparisons are collected, as [`collects_pcs`].
#[inline]
#[must_use]
pub fn collects_cmps() -> bool {
    cfg!(feature = "record") && !CMP.get().is_null()
}

/// Appends the PC that `pc` gives, if PCs are collected.
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

/// As [`store_pc`], of a PC that may follow from the module that recorded last, and may turn out not to be known: then
/// `otherwise` is done.
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

/// Appends the comparison that `record` gives, if comparisons are collected.
#[inline]
pub fn store_cmp(record: impl FnOnce() -> CmpRecord) {
    if cfg!(not(feature = "record")) {
        return;
    }
    // SAFETY: as in `store_pc`.
    if let Some(scope) = unsafe { CMP.get().as_ref() } {
        scope.count(scope.area.append_cmp(record()));
    }
}

/// As [`store_cmp`], of a comparison whose PC follows from the module that recorded last, and may turn out not to be
/// known: then `otherwise` is done.
#[inline]
pub fn store_cmp_or(record: impl FnOnce(&Cell<Text>) -> Option<CmpRecord>, otherwise: impl FnOnce()) {
    if cfg!(not(feature = "record")) {
        return;
    }
    // SAFETY: as in `store_pc`.
    if let Some(scope) = unsafe { CMP.get().as_ref() } {
        match record(&scope.text) {
            Some(record) => scope.count(scope.area.append_cmp(record)),
            None => otherwise(),
        }
    }
}

// SAFETY: the linker defines this symbol at the start of the section, which is there because this file's callers hold
// a `Site` in it. Only its address is taken.
unsafe extern "C" {
    #[link_name = "__start_kcov_sites"]
    safe static SITES: Site;
}

/// The PC of a site in the link section, by the rule of [`kcov_proto::site`].
#[inline]
#[must_use]
pub fn pc_of_site(site: &'static Site) -> u64 {
    let bytes = ptr::from_ref(site).addr().wrapping_sub((&raw const SITES).addr());
    // A site outside of the section, which no macro makes, has a wrong PC but one that clients accept.
    site::pc_of_index((bytes / Site::BYTES) as u64 % SITES_MOST)
}

/// Sites that have a PC of their own: a power of two, so that the bound is one instruction.
const SITES_MOST: u64 = 1 << 22;
const _: () = assert!(site::pc_of_index(SITES_MOST) <= site::SITE_END);
