//! The regions of modules.

use super::text::{self, Text};
use crate::sys::image::{self, Image};
use kcov_proto::message::ModulePcs;
use kcov_proto::region::{Extent, Layout, Placed, Region, identity_of};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The modules that are known.
struct Registry {
    layout: Layout,
    /// The PCs of placed modules, by the first address of their text in this process.
    placed: Vec<(u64, ModulePcs)>,
    /// Guards that constructors announced.
    guards: Vec<&'static [AtomicU32]>,
}

static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { layout: Layout::new(), placed: Vec::new(), guards: Vec::new() });

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes guards, each only once.
pub(super) fn announce(guards: &'static [AtomicU32]) {
    let known = &mut registry().guards;
    if !known.iter().any(|other| std::ptr::eq(*other, guards)) {
        known.push(guards);
    }
}

/// Assigns regions to the program and to each instrumented library that is loaded, and PCs to their guards. A
/// module that has a region keeps it.
pub fn settle() {
    let mut registry = registry();
    let mut is_program = true;
    image::each(|image| {
        registry.settle(image, is_program);
        is_program = false;
    });
}

/// Returns the PCs of the module whose text starts at this address of the process.
#[must_use]
pub fn pcs_of(start: u64) -> ModulePcs {
    let registry = registry();
    let found = registry.placed.iter().find(|(other, _)| *other == start);
    found.map_or(ModulePcs::None, |(_, pcs)| *pcs)
}

/// Returns the guards of a module.
pub(super) fn guards_of(image: &Image<'_>) -> &'static [AtomicU32] {
    registry().guards_of(image)
}

impl Registry {
    fn guards_of(&self, image: &Image<'_>) -> &'static [AtomicU32] {
        let is_inside = |guards: &&&[AtomicU32]| image.contains(guards.as_ptr().addr() as u64);
        self.guards.iter().find(is_inside).copied().unwrap_or_default()
    }

    fn settle(&mut self, image: &Image<'_>, is_program: bool) {
        let Some(text) = image.text() else { return };
        let start = text.start.wrapping_add(image.bias());
        if self.placed.iter().any(|(other, _)| *other == start) {
            return;
        }
        let guards = self.guards_of(image);
        let is_covered = is_program || !guards.is_empty() || image.is_instrumented();
        if !is_covered {
            return;
        }
        let identity = identity_of(image.build_id(), &text);
        let extent = Extent { identity, text, guards: guards.len() as u64 };
        let placed = if is_program { self.layout.program(extent) } else { self.layout.place(extent) };
        let is_known = placed.region().is_some_and(|region| register(region, start, guards));
        let pcs = match placed {
            Placed::Home(region) if is_known => ModulePcs::Home(region.base()),
            Placed::Moved(region) if is_known => ModulePcs::Moved(region.base()),
            _ => ModulePcs::NoRoom,
        };
        self.placed.push((start, pcs));
    }
}

/// Registers a region with the callbacks; returns `false` if their table is full.
fn register(region: &Region, start: u64, guards: &[AtomicU32]) -> bool {
    let text = &region.extent().text;
    let known = text::add(Text { start, length: text.end - text.start, base: region.base() });
    if known {
        for (index, guard) in (0..).zip(guards) {
            guard.store(region.pc_of_guard(index) as u32, Ordering::Relaxed);
        }
    }
    known
}
