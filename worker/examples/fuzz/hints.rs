//! Changes that follow from comparisons: what a device compares the input with is put into the input.

use crate::kcov::Comparison;
use crate::program::Program;

/// Most programs made of the comparisons of one.
const MOST: usize = 4096;

/// One side of a comparison that may come from the input, and the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Replacement {
    from: u64,
    to: u64,
}

/// Programs that differ from `program` in one place each, where an operand of a comparison stands: there they have the
/// other operand, or one less or more than that. The most promising are first.
pub fn programs(program: &Program, comparisons: &[Comparison]) -> Vec<Program> {
    let replacements = replacements(comparisons);
    let mut made = Vec::new();
    // For an equality the operand itself; its neighbours for an order.
    for distance in [0, 1, u64::MAX] {
        for &Replacement { from, to } in &replacements {
            let to = to.wrapping_add(distance);
            made.extend(substitutions(program, Replacement { from, to }));
        }
    }
    // Keeps the order of what stays.
    let mut seen = std::collections::HashSet::new();
    made.retain(|made| made != program && seen.insert(made.clone()));
    made.truncate(MOST);
    made
}

fn replacements(comparisons: &[Comparison]) -> Vec<Replacement> {
    let mut replacements = Vec::new();
    for comparison in comparisons {
        let &Comparison { constant, left, right } = comparison;
        let mut add = |from, to| {
            let replacement = Replacement { from, to };
            if from != to && !replacements.contains(&replacement) {
                replacements.push(replacement);
            }
        };
        add(right, left);
        if !constant {
            // Either may be of the input.
            add(left, right);
        }
    }
    replacements
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

    fn made(bytes: &[u8], comparison: Comparison) -> Vec<Vec<u8>> {
        let programs = programs(&program(bytes), &[comparison]);
        programs.iter().map(|program| program.requests[0].argument.bytes().to_vec()).collect()
    }

    #[test]
    fn a_constant_takes_the_place_of_the_input() {
        let constant = Comparison { constant: true, left: 0xaabb_ccdd, right: 0x1122_3344 };
        let little = made(&[9, 0x44, 0x33, 0x22, 0x11, 9], constant);
        assert_eq!(little[0], [9, 0xdd, 0xcc, 0xbb, 0xaa, 9]);
        assert_eq!(little[1..], [[9, 0xde, 0xcc, 0xbb, 0xaa, 9], [9, 0xdc, 0xcc, 0xbb, 0xaa, 9]]);
        let big = made(&[9, 0x11, 0x22, 0x33, 0x44, 9], constant);
        assert_eq!(big[0], [9, 0xaa, 0xbb, 0xcc, 0xdd, 9]);
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
        let distinct: std::collections::HashSet<_> = made.iter().collect();
        assert_eq!(distinct.len(), made.len());
    }
}
