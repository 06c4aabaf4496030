//! Changes that follow from comparisons: what a device compares the input with is put into the input.

use crate::kcov::Comparison;
use crate::program::Program;
use std::collections::HashSet;

/// Most programs made of the comparisons of one, in either list.
const MOST: usize = 4096;

/// Programs to try.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// With the other operand in its place: what an equality asks for.
    pub equal: Vec<Program>,
    /// With one more or one less than that: the far side of an order.
    pub near: Vec<Program>,
}

/// One side of a comparison that may come from the input, and the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Replacement {
    from: u64,
    to: u64,
}

/// Programs that differ from `program` in one place each, where an operand of a comparison stands.
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
        made.filter(|made| made != program && seen.insert(made.clone())).take(MOST).collect()
    };
    Hints { equal: at(&[0]), near: at(&[1, u64::MAX]) }
}

/// What may take the place of what, each once, in the order of the comparisons.
fn replacements(comparisons: &[Comparison]) -> Vec<Replacement> {
    let mut seen = HashSet::new();
    let both = comparisons.iter().flat_map(|&Comparison { constant, left, right }| {
        let of_the_right = Replacement { from: right, to: left };
        // A constant is not of the input; of two variables either may be.
        let of_the_left = (!constant).then_some(Replacement { from: left, to: right });
        std::iter::once(of_the_right).chain(of_the_left)
    });
    both.filter(|replacement| replacement.from != replacement.to && seen.insert(*replacement)).collect()
}

/// The program with each place that holds `from` changed to hold `to`: in 1, 2, 4 and 8 bytes, if both fit, in either
/// order.
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
    /// Whether both values are those of an integer of `size` bytes, with or without a sign.
    fn fits(&self, size: usize) -> bool {
        let bits = 64 - 8 * size as u32;
        let unsigned = |value: u64| value << bits >> bits == value;
        let signed = |value: u64| (value.cast_signed() << bits >> bits).cast_unsigned() == value;
        (unsigned(self.from) && unsigned(self.to)) || (signed(self.from) && signed(self.to))
    }

    /// Both values in `size` bytes, in each byte order.
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

    /// The bytes of the programs that the equality suggests.
    fn made(input: &[u8], comparison: Comparison) -> Vec<Vec<u8>> {
        bytes(&of(&program(input), &[comparison]).equal)
    }

    #[test]
    fn a_constant_takes_the_place_of_the_input() {
        let constant = Comparison { constant: true, left: 0xaabb_ccdd, right: 0x1122_3344 };
        let little = of(&program(&[9, 0x44, 0x33, 0x22, 0x11, 9]), &[constant]);
        assert_eq!(bytes(&little.equal), [[9, 0xdd, 0xcc, 0xbb, 0xaa, 9]]);
        assert_eq!(bytes(&little.near), [[9, 0xde, 0xcc, 0xbb, 0xaa, 9], [9, 0xdc, 0xcc, 0xbb, 0xaa, 9]]);
        assert_eq!(made(&[9, 0x11, 0x22, 0x33, 0x44, 9], constant), [[9, 0xaa, 0xbb, 0xcc, 0xdd, 9]]);
        assert!(made(&[0xaa, 0xbb, 0xcc, 0xdd], constant).is_empty(), "the constant is not of the input");
    }

    #[test]
    fn of_two_variables_either_may_be_of_the_input() {
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
        assert!(made(&[5, 200], wide(1000, 200)).is_empty(), "1000 has no room");
    }

    #[test]
    fn each_program_is_made_once() {
        let comparison = Comparison { constant: true, left: 1, right: 0 };
        let made = made(&[0; 8], comparison);
        let distinct: HashSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), made.len());
    }
}
