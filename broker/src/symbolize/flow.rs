//! Finds the basic block of a coverage point: the instructions that run whenever the point is reached.
//!
//! Sections are decoded from start to end: compilers do not put data into them. The targets of indirect branches are
//! unknown, but a block that only indirect branches reach follows another branch or has a point of its own.

use object::{Architecture, Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Effect of an instruction on control flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Continues with the next instruction, possibly after a call.
    On,
    /// May or does jump; to this address, if the instruction encodes it.
    Branch(Option<u64>),
}

/// Decodes code at an address and visits each instruction.
type Steps = fn(&[u8], u64, &mut dyn FnMut(Range<u64>, Step));

/// The basic blocks of a binary.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Block boundaries: after branches, at branch targets, at functions.
    edges: BTreeSet<u64>,
    /// Addresses of points: blocks of guards and calls to `trace_pc`.
    points: BTreeSet<u64>,
    /// Addresses of calls to `trace_pc`, by return address.
    calls: BTreeMap<u64, u64>,
}

impl Flow {
    /// Decodes a binary with guards at `blocks` and calls to `trace_pc` that return to `calls`.
    pub(super) fn of(file: &object::File<'_>, blocks: &[u64], calls: &[u64]) -> object::Result<Self> {
        let mut flow = Flow { points: blocks.iter().copied().collect(), ..Flow::default() };
        let returns: BTreeSet<u64> = calls.iter().copied().collect();
        let steps: Steps = match file.architecture() {
            Architecture::X86_64 => x86::steps,
            Architecture::Aarch64 => arm::steps,
            _ => return Ok(flow),
        };
        let symbols = file.symbols().chain(file.dynamic_symbols());
        let functions = symbols.filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition());
        flow.edges.extend(functions.map(|symbol| symbol.address()));
        for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
            flow.edges.insert(section.address());
            steps(section.data()?, section.address(), &mut |instruction, step| {
                if let Step::Branch(target) = step {
                    flow.edges.insert(instruction.end);
                    flow.edges.extend(target);
                }
                if returns.contains(&instruction.end) {
                    flow.calls.insert(instruction.end, instruction.start);
                }
            });
        }
        flow.points.extend(flow.calls.values());
        Ok(flow)
    }

    /// The instructions of a guard's block.
    pub(super) fn of_guard(&self, block: u64) -> Range<u64> {
        block..self.end(block.saturating_add(1))
    }

    /// The instructions of the block with the call to `trace_pc` that returns to `to`: those before the call and those
    /// after it. The call itself is left out because its line may be that of another block. `None` if there is no such
    /// call.
    pub(super) fn of_call(&self, to: u64) -> Option<[Range<u64>; 2]> {
        let call = *self.calls.get(&to)?;
        let start = self.edges.range(..=call).next_back().copied().unwrap_or(call);
        let is_shared = self.points.range(start..call).next().is_some();
        Some([if is_shared { call..call } else { start..call }, to..self.end(to)])
    }

    /// The first block end or point at or after `address`.
    fn end(&self, address: u64) -> u64 {
        let next = |places: &BTreeSet<u64>| places.range(address..).next().copied();
        next(&self.edges).into_iter().chain(next(&self.points)).min().unwrap_or(address)
    }
}

mod x86 {
    use super::{Range, Step};
    use iced_x86::{Decoder, DecoderOptions, FlowControl};

    pub(super) fn steps(code: &[u8], address: u64, visit: &mut dyn FnMut(Range<u64>, Step)) {
        for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
            let step = match instruction.flow_control() {
                FlowControl::Next
                | FlowControl::Call
                | FlowControl::IndirectCall
                | FlowControl::XbeginXabortXend => Step::On,
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    Step::Branch(Some(instruction.near_branch_target()))
                }
                FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Interrupt
                | FlowControl::Exception => Step::Branch(None),
            };
            visit(instruction.ip()..instruction.next_ip(), step);
        }
    }
}

mod arm {
    use super::{Range, Step};

    /// The target of a branch whose signed offset, in words, has `bits` bits from bit `low` on.
    fn target(address: u64, instruction: u32, low: u32, bits: u32) -> Option<u64> {
        let words = (instruction << (32 - low - bits)) as i32 >> (32 - bits);
        Some(address.wrapping_add_signed(i64::from(words) * 4))
    }

    fn step(address: u64, instruction: u32) -> Step {
        match instruction {
            // b
            _ if instruction >> 26 == 0b00_0101 => Step::Branch(target(address, instruction, 0, 26)),
            // b.cond; cbz, cbnz
            _ if instruction >> 24 == 0x54 || instruction >> 25 & 0x3f == 0x1a => {
                Step::Branch(target(address, instruction, 5, 19))
            }
            // tbz, tbnz
            _ if instruction >> 25 & 0x3f == 0x1b => Step::Branch(target(address, instruction, 5, 14)),
            // br, ret; not blr
            _ if instruction >> 25 == 0b110_1011 && instruction >> 21 & 0xf != 1 => Step::Branch(None),
            // udf; brk
            _ if instruction >> 16 == 0 || instruction >> 21 == 0x6a1 => Step::Branch(None),
            _ => Step::On,
        }
    }

    pub(super) fn steps(code: &[u8], address: u64, visit: &mut dyn FnMut(Range<u64>, Step)) {
        let (words, _) = code.as_chunks::<4>();
        for (place, word) in words.iter().enumerate() {
            let address = address.wrapping_add(4 * place as u64);
            visit(address..address.wrapping_add(4), step(address, u32::from_le_bytes(*word)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoded_instructions_are_contiguous_for_any_bytes(code: Vec<u8>, address: u64) {
            for steps in [x86::steps as Steps, arm::steps] {
                let mut next = address;
                steps(&code, address, &mut |instruction, _| {
                    assert_eq!(instruction.start, next);
                    next = instruction.end;
                });
                assert!(next.wrapping_sub(address) <= code.len() as u64);
            }
        }
    }

    /// The branches in `code`, with their targets.
    fn branches(steps: Steps, code: &[u8]) -> Vec<(Range<u64>, Option<u64>)> {
        let mut found = Vec::new();
        steps(code, 0x1000, &mut |instruction, step| {
            if let Step::Branch(target) = step {
                found.push((instruction, target));
            }
        });
        found
    }

    #[test]
    fn branches_are_found_and_calls_are_not_on_x86_64() {
        // call +0; je +2; jmp *%rax; ret; int3; nop; jmp -2; ud2.
        let code = [0xe8, 0, 0, 0, 0, 0x74, 2, 0xff, 0xe0, 0xc3, 0xcc, 0x90, 0xeb, 0xfe, 0x0f, 0x0b];
        let expected = vec![
            (0x1005..0x1007, Some(0x1009)),
            (0x1007..0x1009, None),
            (0x1009..0x100a, None),
            (0x100a..0x100b, None),
            (0x100c..0x100e, Some(0x100c)),
            (0x100e..0x1010, None),
        ];
        assert_eq!(branches(x86::steps, &code), expected);
    }

    #[test]
    fn branches_are_found_and_calls_are_not_on_aarch64() {
        // nop; bl .; blr x1; b .+8; b . -4; b.eq .+8; cbz x0, .+8; tbnz x0, 33, . -4; br x1; ret; brk 1; udf 0.
        let code = [
            0xd503_201f_u32,
            0x9400_0000,
            0xd63f_0020,
            0x1400_0002,
            0x17ff_ffff,
            0x5400_0040,
            0xb400_0040,
            0xb70f_ffe0,
            0xd61f_0020,
            0xd65f_03c0,
            0xd420_0020,
            0,
        ];
        let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
        let targets =
            [Some(0x1014), Some(0x100c), Some(0x101c), Some(0x1020), Some(0x1018), None, None, None, None];
        let expected: Vec<_> = (0x100c..).step_by(4).map(|start| start..start + 4).zip(targets).collect();
        assert_eq!(branches(arm::steps, &code), expected);
    }

    /// A function at 0x10 with a branch at 0x20 to 0x40, and calls to `trace_pc` at 0x14, 0x24, 0x30 and 0x35.
    fn flow() -> Flow {
        let calls = BTreeMap::from([(0x19, 0x14), (0x29, 0x24), (0x35, 0x30), (0x3a, 0x35)]);
        Flow { edges: BTreeSet::from([0x10, 0x22, 0x40]), points: calls.values().copied().collect(), calls }
    }

    #[test]
    fn a_block_ends_at_an_edge_or_at_the_next_point() {
        let flow = flow();
        assert_eq!(flow.of_call(0x19), Some([0x10..0x14, 0x19..0x22]), "from the function to the branch");
        assert_eq!(flow.of_call(0x29), Some([0x22..0x24, 0x29..0x30]), "from the branch to the next point");
        assert_eq!(
            flow.of_call(0x35),
            Some([0x30..0x30, 0x35..0x35]),
            "the code before and after belongs to other points"
        );
        assert_eq!(flow.of_call(0x3a), Some([0x35..0x35, 0x3a..0x40]));
        assert_eq!(flow.of_call(0x50), None);
        assert_eq!(flow.of_guard(0x22), 0x22..0x24);
    }
}
