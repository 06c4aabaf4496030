//! The PCs of instrumented code: a region for each program and library, and a place in it for each point.
//!
//! Compilers call back at each point that they instrument. The PC of a point follows from the binary in which the call
//! stands, and from nothing else: ASLR, run, worker and machine do not matter. The one rule:
//!
//! > A module has a region of PCs. A call from which the callback returns to address `a` of the file has the PC
//! > `base + SCALE * (a - text)`, where `text` is the lowest address of the module's executable segments. Behind these,
//! > guard `i` of the module (`-fsanitize-coverage=trace-pc-guard`), counted in the order of its section, has the PC
//! > `base + SCALE * length of the text + i * SPACING + OFFSET`, the length rounded up to [`SPACING`].
//!
//! | callback | PC |
//! |---|---|
//! | `trace_pc` | of the call |
//! | `trace_pc_guard` | of the guard |
//! | `trace_cmp*`, `trace_const_cmp*`, `trace_switch`, `trace_div*` | of the call |
//!
//! A point is of the function that it stands in if the callback is called. `gcc -O2` jumps to it at the end of a function,
//! and it returns to that function's caller: `-fno-optimize-sibling-calls` makes a call of every jump.
//!
//! The shortest call is 2 bytes long on x86-64 (through a register) and 4 on aarch64, so return addresses are at least
//! that far apart, and their PCs at least 8: [`SCALE`] times as far.
//!
//! # Where a region is
//! The program's begins at [`PROGRAM_BASE`]. That of a library begins at a multiple of [`GRAIN`] between
//! [`LIBRARIES`] and [`LIBRARIES_END`], which its [identity](Extent::identity) tells: its build id. So a library has the
//! same PCs whatever is loaded beside it. Should the place be taken by a library that was loaded before, it gets the
//! next free one, and whoever loads it is to say so ([`Placed::Moved`]): its PCs then depend on the other.

use crate::site::{OFFSET, SPACING, fnv1a};
use std::ops::Range;

/// PCs to a byte of code.
pub const SCALE: u64 = 4;
/// Start of the program's region.
pub const PROGRAM_BASE: u64 = 0xffff_ffff_8800_0000;
/// End of it: room for 64 MiB of code.
pub const PROGRAM_END: u64 = LIBRARIES;
/// Start of the regions of libraries.
pub const LIBRARIES: u64 = 0xffff_ffff_9800_0000;
/// End of them.
pub const LIBRARIES_END: u64 = crate::site::ID_BASE;
/// Regions begin and end at multiples of this: 256 KiB of code, which is more than most handlers have.
pub const GRAIN: u64 = 1 << 20;

const _: () =
    assert!(crate::site::SITE_END <= PROGRAM_BASE && PROGRAM_BASE < LIBRARIES && LIBRARIES < LIBRARIES_END);

/// Name of the section with the guards of clang and rustc.
pub const GUARDS: &str = "__sancov_guards";
/// Bytes of a guard.
pub const GUARD_BYTES: u64 = 4;
/// Prefix of all callbacks of instrumented code. A library is instrumented if its relocations name one of them.
pub const CALLBACKS: &str = "__sanitizer_cov_";

/// What of a module decides about its region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Tells one binary from another, see [`identity_of`].
    pub identity: u64,
    /// Addresses of its executable segments in the file, from the lowest to the end of the highest.
    pub text: Range<u64>,
    /// Guards that it has.
    pub guards: u64,
}

/// The identity of a module: of its build id; where it has none, of the addresses of its executable segments.
#[must_use]
pub fn identity_of(build_id: Option<&[u8]>, text: &Range<u64>) -> u64 {
    match build_id {
        Some(id) => fnv1a(id),
        None => fnv1a(&[text.start.to_le_bytes(), text.end.to_le_bytes()].concat()),
    }
}

impl Extent {
    /// PCs that the code needs.
    fn code(&self) -> u64 {
        let length = self.text.end.saturating_sub(self.text.start);
        length.saturating_mul(SCALE).checked_next_multiple_of(SPACING).unwrap_or(u64::MAX)
    }

    /// PCs that the module needs.
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

/// What a PC of a region stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A call that returns to this address of the file; or, if a symboliser has subtracted something from the PC, to
    /// one that is up to 2 bytes higher.
    Call {
        /// Return address.
        to: u64,
    },
    /// A guard, by its index.
    Guard(u64),
}

impl Region {
    /// Its first PC.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// What has it.
    #[must_use]
    pub fn extent(&self) -> &Extent {
        &self.extent
    }

    /// All of its PCs, and those between them.
    #[must_use]
    pub fn pcs(&self) -> Range<u64> {
        self.base..self.base + self.extent.span().unwrap_or_default()
    }

    /// PC of the call that returns to this address of the file. For an address in the text only.
    #[must_use]
    pub fn pc_of_return(&self, to: u64) -> u64 {
        self.base + (to - self.extent.text.start) * SCALE
    }

    /// PC of guard `index`.
    #[must_use]
    pub fn pc_of_guard(&self, index: u64) -> u64 {
        self.base + self.extent.code() + index * SPACING + OFFSET
    }

    /// What `pc` stands for, be it exact or with the 4 or 5 subtracted that symbolisers of kernels subtract.
    #[must_use]
    pub fn point(&self, pc: u64) -> Option<Point> {
        let at = pc.checked_sub(self.base)?;
        match at.checked_sub(self.extent.code()) {
            None => Some(Point::Call { to: self.extent.text.start + at / SCALE }),
            Some(at) => (at / SPACING < self.extent.guards).then_some(Point::Guard(at / SPACING)),
        }
    }
}

/// What a module got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The region that follows from the module alone.
    Home(Region),
    /// Another one: a library loaded before has that.
    Moved(Region),
    /// None: the module is too large, or too many are loaded. Its points have no PC, and are not recorded.
    NoRoom,
}

impl Placed {
    /// The region, if there is one.
    #[must_use]
    pub fn region(&self) -> Option<&Region> {
        match self {
            Placed::Home(region) | Placed::Moved(region) => Some(region),
            Placed::NoRoom => None,
        }
    }
}

/// Who has which PCs: the program first, then its instrumented libraries in the order in which they were loaded.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    taken: Vec<Range<u64>>,
}

impl Layout {
    /// Before anything is loaded.
    #[must_use]
    pub const fn new() -> Self {
        Layout { taken: Vec::new() }
    }

    /// The region of the program.
    #[must_use]
    pub fn program(&self, extent: Extent) -> Placed {
        match extent.span() {
            Some(span) if span <= PROGRAM_END - PROGRAM_BASE => {
                Placed::Home(Region { base: PROGRAM_BASE, extent })
            }
            _ => Placed::NoRoom,
        }
    }

    /// Gives a library its region.
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
    fn two_of_one_identity_collide_and_the_second_moves() {
        let mut layout = Layout::default();
        let Placed::Home(first) = layout.place(extent(7, 100, 3)) else { panic!("it is alone") };
        let Placed::Moved(second) = layout.place(extent(7, 100, 3)) else { panic!("the place is taken") };
        assert_eq!(first.pcs().end, second.pcs().start);
    }

    #[test]
    fn what_is_too_large_has_no_region() {
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
        fn a_pc_leads_back_to_its_point(identity: u64, length in 16_u64..1 << 20, guards in 1_u64..1000, at: u64) {
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
                let Some(Point::Call { to: found }) = region.point(pc) else { panic!("a call") };
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
