//! Comparison-guided mutation: puts the values that a device compares the input with into the input.

use crate::kcov::Comparison;
use crate::program::Program;
use std::collections::HashSet;

/// Most programs in each list of hints for one program.
const MAX_HINTS: usize = 4096;

/// Programs to try.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// An operand replaced by the other one, which satisfies an equality.
    pub equal: Vec<Program>,
    /// An operand replaced by the other one plus or minus 1, which satisfies an inequality.
    pub near: Vec<Program>,
}

/// A value that may occur in the input, and what to replace it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Replacement {
    from: u64,
    to: u64,
}

/// Copies of `program` that differ in one place, where an operand of a comparison occurs.
pub fn of(program: &Program, comparisons: &[Comparison]) -> Hints {
    let replacements = replacements(comparisons);
    let at = |distances: &[u64]| {
        let distant = |distance: u64| {
            let replacements = replacements.iter();
            replacements
                .map(move |&Replacement { from, to }| Replacement { from, to: to.wrapping_add(distance) })
        };
        let made = distances.iter().flat_map(|&distance| distant(distance));
        let made = made.flat_map(|replacement| substitutions(program, replacement));
        let mut seen = HashSet::new();
        made.filter(|made| made != program && seen.insert(made.clone())).take(MAX_HINTS).collect()
    };
    Hints { equal: at(&[0]), near: at(&[1, u64::MAX]) }
}

/// The distinct replacements, in the order of the comparisons.
fn replacements(comparisons: &[Comparison]) -> Vec<Replacement> {
    let mut seen = HashSet::new();
    let both = comparisons.iter().flat_map(|&Comparison { constant, left, right }| {
        let of_the_right = Replacement { from: right, to: left };
        // A constant does not come from the input. Of two variables, either may.
        let of_the_left = (!constant).then_some(Replacement { from: left, to: right });
        std::iter::once(of_the_right).chain(of_the_left)
    });
    both.filter(|replacement| replacement.from != replacement.to && seen.insert(*replacement)).collect()
}

/// Copies of the program with one occurrence of `from` replaced by `to`: as integers of 1, 2, 4 and 8 bytes,
/// if both values fit, in both byte orders.
fn substitutions(program: &Program, replacement: Replacement) -> Vec<Program> {
    let mut made = Vec::new();
    for size in [8, 4, 2, 1].into_iter().filter(|&size| replacement.fits(size)) {
        for (from, to) in replacement.spellings(size) {
            for (at, request) in program.requests.iter().enumerate() {
                let bytes = request.argument.bytes();
                let places = bytes.windows(size).enumerate().filter(|(_, window)| *window == from);
                for (place, _) in places {
                    let mut changed = program.clone();
                    changed.requests[at].argument.bytes_mut()[place..place + size].copy_from_slice(&to);
                    made.push(changed);
                }
            }
        }
    }
    made
}

impl Replacement {
    /// Returns whether both values fit into a signed or an unsigned integer of `size` bytes.
    fn fits(&self, size: usize) -> bool {
        let bits = 64 - 8 * size as u32;
        let unsigned = |value: u64| value << bits >> bits == value;
        let signed = |value: u64| (value.cast_signed() << bits >> bits).cast_unsigned() == value;
        (unsigned(self.from) && unsigned(self.to)) || (signed(self.from) && signed(self.to))
    }

    /// Both values as `size` bytes, in each byte order.
    fn spellings(&self, size: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let little = |value: u64| value.to_le_bytes()[..size].to_vec();
        let big = |value: u64| value.to_be_bytes()[8 - size..].to_vec();
        let mut spellings = vec![(little(self.from), little(self.to))];
        if size > 1 {
            spellings.push((big(self.from), big(self.to)));
        }
        spellings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Argument, Request};

    fn program(bytes: &[u8]) -> Program {
        Program { requests: vec![Request { number: 1, argument: Argument::Memory(bytes.to_vec()) }] }
    }

    fn bytes(programs: &[Program]) -> Vec<Vec<u8>> {
        programs.iter().map(|program| program.requests[0].argument.bytes().to_vec()).collect()
    }

    /// The bytes of the programs for an equality.
    fn made(input: &[u8], comparison: Comparison) -> Vec<Vec<u8>> {
        bytes(&of(&program(input), &[comparison]).equal)
    }

    #[test]
    fn a_constant_replaces_the_input() {
        let constant = Comparison { constant: true, left: 0xaabb_ccdd, right: 0x1122_3344 };
        let little = of(&program(&[9, 0x44, 0x33, 0x22, 0x11, 9]), &[constant]);
        assert_eq!(bytes(&little.equal), [[9, 0xdd, 0xcc, 0xbb, 0xaa, 9]]);
        assert_eq!(bytes(&little.near), [[9, 0xde, 0xcc, 0xbb, 0xaa, 9], [9, 0xdc, 0xcc, 0xbb, 0xaa, 9]]);
        assert_eq!(made(&[9, 0x11, 0x22, 0x33, 0x44, 9], constant), [[9, 0xaa, 0xbb, 0xcc, 0xdd, 9]]);
        assert!(
            made(&[0xaa, 0xbb, 0xcc, 0xdd], constant).is_empty(),
            "a constant does not come from the input"
        );
    }

    #[test]
    fn either_of_two_variables_may_come_from_the_input() {
        let variables = Comparison { constant: false, left: 7, right: 9 };
        let made = made(&[7], variables);
        assert!(made.contains(&vec![9]), "{made:?}");
    }

    #[test]
    fn a_narrow_input_is_found_in_a_wide_comparison() {
        let wide = |left, right| Comparison { constant: true, left, right };
        assert_eq!(made(&[5, 200], wide(100, 200))[0], [5, 100]);
        let minus = |value: i64| value.cast_unsigned();
        assert_eq!(made(&[5, 0xfe, 0xff], wide(minus(-3), minus(-2)))[0], [5, 0xfd, 0xff]);
        assert!(made(&[5, 200], wide(1000, 200)).is_empty(), "1000 does not fit");
    }

    #[test]
    fn each_program_is_made_once() {
        let comparison = Comparison { constant: true, left: 1, right: 0 };
        let made = made(&[0; 8], comparison);
        let distinct: HashSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), made.len());
    }
}
