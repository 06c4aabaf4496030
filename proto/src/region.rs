//! PCs of compiler-instrumented code: each program and library has a region, and each instrumented point a
//! place in it.
//!
//! Compilers insert a callback at each point that they instrument. The PC of a point depends only on the
//! binary that contains the callback; it is the same for every run, worker and machine, with or without ASLR.
//! The rule:
//!
//! > A module has a region of PCs. A callback that returns to address `a` of the file has the PC
//! > `base + SCALE * (a - text)`, where `text` is the lowest address of the module's executable segments. Behind
//! > these, guard `i` of the module (`-fsanitize-coverage=trace-pc-guard`), counted in the order of its
//! > section, has the PC `base + SCALE * length of the text + i * SPACING + OFFSET`, where the length is
//! > rounded up to [`SPACING`].
//!
//! | callback | its PC is that of |
//! |---|---|
//! | `trace_pc` | the call |
//! | `trace_pc_guard` | the guard |
//! | `trace_cmp*`, `trace_const_cmp*`, `trace_switch`, `trace_div*` | the call |
//!
//! A return address lies in the instrumented function only if the callback is called. At the end of a
//! function `gcc -O2` jumps to it instead, and it returns to the caller of that function.
//! `-fno-optimize-sibling-calls` turns these jumps into calls.
//!
//! The shortest call is 2 bytes long on x86-64 (through a register) and 4 on aarch64. Return addresses are at
//! least that far apart, and their PCs [`SCALE`] times as far: at least 8.
//!
//! # Where a region is
//! The region of the program begins at [`PROGRAM_BASE`]. The region of a library begins at a multiple of
//! [`GRAIN`] between [`LIBRARIES`] and [`LIBRARIES_END`], chosen by a hash of its build id
//! ([`Extent::identity`]). So a library has the same PCs whichever other libraries are loaded. If an earlier
//! library already has the place, it gets the next free one, and the loader must report that
//! ([`Placed::Moved`]): its PCs then depend on the other library.

use crate::site::{OFFSET, SPACING, fnv1a};
use std::ops::Range;

/// PCs for each byte of code.
pub const SCALE: u64 = 4;
/// Start of the program's region.
pub const PROGRAM_BASE: u64 = 0xffff_ffff_8800_0000;
/// End of the program's region: room for 64 MiB of code.
pub const PROGRAM_END: u64 = LIBRARIES;
/// Start of the regions of libraries.
pub const LIBRARIES: u64 = 0xffff_ffff_9800_0000;
/// End of the regions of libraries.
pub const LIBRARIES_END: u64 = crate::site::ID_BASE;
/// Regions begin and end at multiples of this. It is the size of 256 KiB of code, more than most handlers
/// have.
pub const GRAIN: u64 = 1 << 20;

const _: () =
    assert!(crate::site::SITE_END <= PROGRAM_BASE && PROGRAM_BASE < LIBRARIES && LIBRARIES < LIBRARIES_END);

/// Name of the section in which clang and rustc put the guards.
pub const GUARDS: &str = "__sancov_guards";
/// Size of a guard in bytes.
pub const GUARD_BYTES: u64 = 4;
/// Prefix of all coverage callbacks. A library whose relocations name one of them is instrumented.
pub const CALLBACKS: &str = "__sanitizer_cov_";

/// The properties of a module that determine its region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Distinguishes binaries; see [`identity_of`].
    pub identity: u64,
    /// Addresses of the executable segments in the file, from the lowest to the end of the highest.
    pub text: Range<u64>,
    /// Number of guards.
    pub guards: u64,
}

/// Returns the identity of a module: a hash of its build id, or of the addresses of its executable segments
/// if it has none.
#[must_use]
pub fn identity_of(build_id: Option<&[u8]>, text: &Range<u64>) -> u64 {
    match build_id {
        Some(id) => fnv1a(id),
        None => fnv1a(&[text.start.to_le_bytes(), text.end.to_le_bytes()].concat()),
    }
}

impl Extent {
    /// Number of PCs that the code needs.
    fn code(&self) -> u64 {
        let length = self.text.end.saturating_sub(self.text.start);
        length.saturating_mul(SCALE).checked_next_multiple_of(SPACING).unwrap_or(u64::MAX)
    }

    /// Number of PCs that the whole module needs.
    fn span(&self) -> Option<u64> {
        let guards = self.guards.checked_mul(SPACING)?;
        self.code().checked_add(guards)?.checked_next_multiple_of(GRAIN)
    }
}

/// The PCs of one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    base: u64,
    extent: Extent,
}

/// What a PC of a region refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A call that returns to this address of the file. If a symboliser has subtracted something from the PC,
    /// the real return address is up to 2 bytes higher.
    Call {
        /// Return address in the file.
        to: u64,
    },
    /// A guard, by its index in the section.
    Guard(u64),
}

impl Region {
    /// First PC of the region.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The module that has this region.
    #[must_use]
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Range of all PCs of the region, with the gaps between them.
    #[must_use]
    pub fn pcs(&self) -> Range<u64> {
        self.base..self.base + self.extent.span().unwrap_or_default()
    }

    /// PC of the call that returns to this address of the file. The address must be in the text.
    #[must_use]
    pub fn pc_of_return(&self, to: u64) -> u64 {
        self.base + (to - self.extent.text.start) * SCALE
    }

    /// PC of the guard with this index.
    #[must_use]
    pub fn pc_of_guard(&self, index: u64) -> u64 {
        self.base + self.extent.code() + index * SPACING + OFFSET
    }

    /// Returns what `pc` refers to. Also accepts PCs from which a kernel symboliser has subtracted 4 or 5.
    #[must_use]
    pub fn point(&self, pc: u64) -> Option<Point> {
        let at = pc.checked_sub(self.base)?;
        match at.checked_sub(self.extent.code()) {
            None => Some(Point::Call { to: self.extent.text.start + at / SCALE }),
            Some(at) => (at / SPACING < self.extent.guards).then_some(Point::Guard(at / SPACING)),
        }
    }
}

/// The outcome of placing a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It has the region that follows from the module alone.
    Home(Region),
    /// It has another region, because an earlier library has its own.
    Moved(Region),
    /// It has none: the module is too large, or too many are loaded. Its points have no PC and are not
    /// recorded.
    NoRoom,
}

impl Placed {
    /// The region, if the module has one.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        match self {
            Placed::Home(region) | Placed::Moved(region) => Some(region),
            Placed::NoRoom => None,
        }
    }
}

/// Assigns regions: first to the program, then to its instrumented libraries in load order.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    taken: Vec<Range<u64>>,
}

impl Layout {
    /// An empty layout.
    #[must_use]
    pub const fn new() -> Self {
        Layout { taken: Vec::new() }
    }

    /// Returns the region of the program.
    #[must_use]
    pub fn program(&self, extent: Extent) -> Placed {
        match extent.span() {
            Some(span) if span <= PROGRAM_END - PROGRAM_BASE => {
                Placed::Home(Region { base: PROGRAM_BASE, extent })
            }
            _ => Placed::NoRoom,
        }
    }

    /// Assigns a region to a library.
    pub fn place(&mut self, extent: Extent) -> Placed {
        let room = LIBRARIES_END - LIBRARIES;
        let Some(span) = extent.span().filter(|span| *span <= room) else { return Placed::NoRoom };
        let home = extent.identity % ((room - span) / GRAIN + 1);
        let starts = (room - span) / GRAIN + 1;
        let base = |number: u64| LIBRARIES + (home + number) % starts * GRAIN;
        let is_free =
            |base: &u64| self.taken.iter().all(|taken| base + span <= taken.start || taken.end <= *base);
        let Some(found) = (0..starts).map(base).find(is_free) else { return Placed::NoRoom };
        self.taken.push(found..found + span);
        let region = Region { base: found, extent };
        if found == base(0) { Placed::Home(region) } else { Placed::Moved(region) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(identity: u64, length: u64, guards: u64) -> Extent {
        Extent { identity, text: 0x1000..0x1000 + length, guards }
    }

    #[test]
    fn a_second_library_with_the_same_identity_moves() {
        let mut layout = Layout::default();
        let Placed::Home(first) = layout.place(extent(7, 100, 3)) else {
            panic!("the first library has its own region")
        };
        let Placed::Moved(second) = layout.place(extent(7, 100, 3)) else {
            panic!("the second library must move")
        };
        assert_eq!(first.pcs().end, second.pcs().start);
    }

    #[test]
    fn a_module_that_is_too_large_has_no_region() {
        let mut layout = Layout::default();
        for (length, guards) in [(1 << 30, 0), (u64::MAX - 0x1000, 0), (0, u64::MAX), (10, 1 << 40)] {
            assert_eq!(layout.place(extent(1, length, guards)), Placed::NoRoom);
            assert_eq!(layout.program(extent(1, length, guards)), Placed::NoRoom);
        }
    }

    proptest! {
        #[test]
        fn regions_never_overlap(modules in prop::collection::vec((any::<u64>(), 1_u64..1 << 25, 0_u64..1 << 20), 1..40)) {
            let mut layout = Layout::default();
            let mut before: Vec<Region> = Vec::new();
            for (identity, length, guards) in modules {
                let placed = layout.place(extent(identity, length, guards));
                let Some(region) = placed.region() else { continue };
                prop_assert!(region.pcs().start >= LIBRARIES && region.pcs().end <= LIBRARIES_END);
                for other in &before {
                    prop_assert!(region.pcs().end <= other.base() || other.pcs().end <= region.base());
                }
                before.push(region.clone());
            }
        }

        #[test]
        fn a_pc_maps_back_to_its_point(identity: u64, length in 16_u64..1 << 20, guards in 1_u64..1000, at: u64) {
            let placed = Layout::default().place(extent(identity, length, guards));
            let region = placed.region().unwrap();
            let guard = at % guards;
            let pc = region.pc_of_guard(guard);
            for pc in [pc, pc - 4, pc - 5] {
                prop_assert_eq!(region.point(pc), Some(Point::Guard(guard)));
            }
            let to = 0x1000 + 2 + at % (length - 2);
            let pc = region.pc_of_return(to);
            prop_assert_eq!(region.point(pc), Some(Point::Call { to }));
            for pc in [pc - 4, pc - 5] {
                let Some(Point::Call { to: found }) = region.point(pc) else { panic!("not a call") };
                prop_assert!(found < to && to - found <= 2);
            }
        }

        #[test]
        fn points_are_far_apart(identity: u64, length in 16_u64..1 << 20, guards in 1_u64..1000) {
            let placed = Layout::default().place(extent(identity, length, guards));
            let region = placed.region().unwrap();
            let last = region.pc_of_return(0x1000 + length);
            prop_assert!(region.pc_of_return(0x1000 + length - 2) + 8 <= last);
            prop_assert!(last + 8 <= region.pc_of_guard(0));
            prop_assert!(region.pc_of_guard(guards - 1) < region.pcs().end);
        }
    }
}
