//! PCs that no binary has: of what they are tells which binary is missing.

use kcov_proto::region::{LIBRARIES, LIBRARIES_END, PROGRAM_BASE};
use kcov_proto::site::{ID_BASE, SITE_BASE, TEXT_END};
use std::collections::BTreeMap;

/// What a PC is of that no binary has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// A recording macro of another worker program.
    Program,
    /// Instrumented code of another worker program.
    ProgramCode,
    /// Instrumented code of a library.
    Library,
    /// Instrumented code of one of the binaries, which does not say where it is.
    Stripped,
    /// A handler gave it the number itself.
    Id,
    /// Nothing of kcov-broker has such a PC.
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

    /// What to do about it.
    fn hint(self) -> &'static str {
        match self {
            Origin::Program | Origin::ProgramCode => {
                "of another worker program than this one: name that of the run with --worker, as it was built then"
            }
            Origin::Library => {
                "of a library that was not named: name those of the run with --handler, in their order, as they were built \
                 then, and libraries that they bring"
            }
            Origin::Stripped => {
                "of a binary without debugging information: build it with -g, and do not strip it"
            }
            Origin::Id => "of a handler that numbers its points itself: no binary says where they are",
            Origin::Foreign => "not of kcov-broker",
        }
    }
}

/// PCs without a place, by what they are of.
#[derive(Debug, Default)]
pub struct Missing(BTreeMap<Origin, (u64, u64)>);

impl Missing {
    /// Takes one in, which is one of a binary's or of none.
    pub fn add(&mut self, pc: u64, is_of_a_binary: bool) {
        let origin = if is_of_a_binary { Origin::Stripped } else { Origin::of(pc) };
        self.0.entry(origin).or_insert((pc, 0)).1 += 1;
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A sentence for each kind, with the first of its PCs.
    pub fn hints(&self) -> impl Iterator<Item = String> {
        let others = |count: u64| match count {
            1 => " is".to_owned(),
            count => format!(" and {} more are", count - 1),
        };
        self.0
            .iter()
            .map(move |(origin, (pc, count))| format!("{pc:#018x}{} {}", others(*count), origin.hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_with_what_to_do() {
        let mut missing = Missing::default();
        assert!(missing.is_empty());
        for pc in [LIBRARIES, LIBRARIES + 4, SITE_BASE, PROGRAM_BASE, ID_BASE, 0, u64::MAX] {
            missing.add(pc, false);
        }
        missing.add(LIBRARIES + 8, true);
        let hints: Vec<_> = missing.hints().collect();
        assert_eq!(hints.len(), 6);
        assert!(hints[0].contains("is of another") && hints[0].contains("--worker"), "{hints:?}");
        assert!(hints[2].contains("and 1 more are") && hints[2].contains("--handler"), "{hints:?}");
        assert!(hints[3].contains("-g"), "{hints:?}");
        assert!(hints[5].starts_with("0x0000000000000000 and 1 more are not of"), "{hints:?}");
    }
}
