//! Explains PCs without a location: the range of a PC tells which binary is missing.

use kcov_proto::region::{LIBRARIES, LIBRARIES_END, PROGRAM_BASE};
use kcov_proto::site::{ID_BASE, SITE_BASE, TEXT_END};
use std::collections::BTreeMap;

/// What a PC without a location belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// A site of another worker program.
    Program,
    /// Instrumented code of another worker program.
    ProgramCode,
    /// Instrumented code of a library that was not given.
    Library,
    /// Instrumented code of a given binary that has no debugging information.
    Stripped,
    /// An explicit id that a handler chose.
    Id,
    /// Outside of all ranges of kcov-broker.
    Foreign,
}

impl Origin {
    fn of(pc: u64) -> Self {
        match pc {
            SITE_BASE..PROGRAM_BASE => Origin::Program,
            PROGRAM_BASE..LIBRARIES => Origin::ProgramCode,
            LIBRARIES..LIBRARIES_END => Origin::Library,
            ID_BASE..TEXT_END => Origin::Id,
            _ => Origin::Foreign,
        }
    }

    /// The second half of a sentence: the cause and what to do.
    fn hint(self) -> &'static str {
        match self {
            Origin::Program | Origin::ProgramCode => {
                "from a different build of the worker program: pass the program of that run with --worker"
            }
            Origin::Library => {
                "from a library that was not given: pass the libraries of that run with --handler, in the same order and \
                 from the same build, including libraries that they load"
            }
            Origin::Stripped => {
                "from a binary without debugging information: build it with -g and do not strip it"
            }
            Origin::Id => "an explicit id of a handler: it has no source location",
            Origin::Foreign => "not a PC of kcov-broker",
        }
    }
}

/// PCs without a location: for each origin the first PC and the number of PCs.
#[derive(Debug, Default)]
pub struct Missing(BTreeMap<Origin, (u64, u64)>);

impl Missing {
    /// Adds a PC. `is_of_a_binary`: it lies in the instrumented code of a given binary.
    pub fn add(&mut self, pc: u64, is_of_a_binary: bool) {
        let origin = if is_of_a_binary { Origin::Stripped } else { Origin::of(pc) };
        self.0.entry(origin).or_insert((pc, 0)).1 += 1;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns one message per origin, with its first PC.
    pub fn hints(&self) -> impl Iterator<Item = String> {
        let others = |count: u64| match count {
            1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        self.0
            .iter()
            .map(move |(origin, (pc, count))| format!("{pc:#018x}{}: {}", others(*count), origin.hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_origin_gets_one_hint() {
        let mut missing = Missing::default();
        assert!(missing.is_empty());
        for pc in [LIBRARIES, LIBRARIES + 4, SITE_BASE, PROGRAM_BASE, ID_BASE, 0, u64::MAX] {
            missing.add(pc, false);
        }
        missing.add(LIBRARIES + 8, true);
        let hints: Vec<_> = missing.hints().collect();
        assert_eq!(hints.len(), 6);
        assert!(hints[0].contains("different build") && hints[0].contains("--worker"), "{hints:?}");
        assert!(hints[2].contains("and 1 more: ") && hints[2].contains("--handler"), "{hints:?}");
        assert!(hints[3].contains("-g"), "{hints:?}");
        assert!(hints[5].starts_with("0x0000000000000000 and 1 more: not a PC"), "{hints:?}");
    }
}
