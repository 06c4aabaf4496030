//! Finds calls of a function in machine code: gcc does not write a table of the points that it instruments.
//!
//! The code is searched for calls with this target, without decoding every instruction. A call encodes the
//! distance to its target, so other bytes rarely look like a call to exactly this target (1 in 2^32 per byte
//! of code on x86-64).

use std::collections::BTreeSet;

/// The callback of instrumented code without guards.
pub const TRACE_PC: &str = "__sanitizer_cov_trace_pc";

/// Contiguous code.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// Its address.
    pub address: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// The targets that calls are searched for.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// Addresses of the function, and of stubs that jump to it.
    pub functions: BTreeSet<u64>,
    /// Addresses of words that contain the address of the function.
    pub words: BTreeSet<u64>,
}

/// An architecture whose calls can be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86,
    /// 64-bit ARM.
    Arm,
}

impl Machine {
    /// The architecture of this program.
    pub const HOST: Machine = if cfg!(target_arch = "aarch64") { Machine::Arm } else { Machine::X86 };
}

/// Returns the return addresses of all calls whose target is in the instruction, in ascending order.
#[must_use]
pub fn find(machine: Machine, code: &[Code<'_>], targets: Targets) -> Vec<u64> {
    search(machine, code, targets, false)
}

/// As [`find`], with the calls through a register into which the address was loaded shortly before. (Compilers
/// do that if a function has many calls, and the target is not known to be in the same module.) Some of these
/// may be calls of another function.
#[must_use]
pub fn find_candidates(machine: Machine, code: &[Code<'_>], targets: Targets) -> Vec<u64> {
    search(machine, code, targets, true)
}

fn search(machine: Machine, code: &[Code<'_>], mut targets: Targets, by_register: bool) -> Vec<u64> {
    if targets.functions.is_empty() && targets.words.is_empty() {
        return Vec::new();
    }
    // Without words there is nothing that a stub could jump through.
    for code in code.iter().filter(|_| !targets.words.is_empty()) {
        let stubs = match machine {
            Machine::X86 => x86::stubs(code, &targets.words),
            Machine::Arm => arm::stubs(code, &targets.words),
        };
        targets.functions.extend(stubs);
    }
    let calls = code.iter().flat_map(|code| match machine {
        Machine::X86 => x86::calls(code, &targets),
        Machine::Arm => arm::calls(code, &targets),
    });
    let mut found: Vec<u64> = calls.collect();
    if by_register && machine == Machine::X86 {
        found.extend(code.iter().flat_map(|code| x86::register_calls(code, &targets)));
    }
    found.sort_unstable();
    found.dedup();
    found
}

mod x86 {
    use super::{BTreeSet, Code, Targets};

    /// Opcodes of `jmp *word(%rip)`, `call *word(%rip)` and `call function`. A 4-byte distance from the end of
    /// the instruction follows.
    const JUMP: &[u8] = &[0xff, 0x25];
    const CALL_WORD: &[u8] = &[0xff, 0x15];
    const CALL: &[u8] = &[0xe8];
    /// Bytes of a stub before its jump: none, `endbr64`, or `endbr64` and a `bnd` prefix.
    const BEGINNINGS: [&[u8]; 3] = [&[], &[0xf3, 0x0f, 0x1e, 0xfa], &[0xf3, 0x0f, 0x1e, 0xfa, 0xf2]];

    /// Finds instructions with this opcode: their offset, end address and target.
    fn with_opcode<'a>(code: &'a Code<'_>, opcode: &'a [u8]) -> impl Iterator<Item = (usize, u64, u64)> + 'a {
        let length = opcode.len() + 4;
        let starts = code.bytes.iter().enumerate().filter(move |(_, byte)| **byte == opcode[0]);
        starts.filter_map(move |(at, _)| {
            let bytes = code.bytes.get(at..at + length)?.strip_prefix(opcode)?;
            let distance = i32::from_le_bytes(*bytes.first_chunk()?);
            let end = code.address.wrapping_add((at + length) as u64);
            Some((at, end, end.wrapping_add_signed(distance.into())))
        })
    }

    pub(super) fn stubs(code: &Code<'_>, words: &BTreeSet<u64>) -> Vec<u64> {
        let jumps = with_opcode(code, JUMP).filter(|(.., word)| words.contains(word));
        let begins = |at: usize| {
            let begins = BEGINNINGS.iter().filter(move |bytes| code.bytes[..at].ends_with(bytes));
            begins.map(move |bytes| code.address.wrapping_add((at - bytes.len()) as u64))
        };
        jumps.flat_map(|(at, ..)| begins(at)).collect()
    }

    /// Finds the calls through a register in the code behind an instruction that loads the register: with one
    /// of the words (`mov`), or with the address of one of the functions (`lea`).
    pub(super) fn register_calls(code: &Code<'_>, targets: &Targets) -> Vec<u64> {
        /// Length of that code in bytes: more than most functions have.
        const REACH: usize = 4096;
        let mut found = Vec::new();
        for (at, bytes) in code.bytes.windows(7).enumerate() {
            let &[rex @ (0x48 | 0x4c), opcode @ (0x8b | 0x8d), place, ref distance @ ..] = bytes else {
                continue;
            };
            let Some(distance) = distance.first_chunk().map(|bytes| i32::from_le_bytes(*bytes)) else {
                continue;
            };
            let end = code.address.wrapping_add((at + 7) as u64);
            let address = end.wrapping_add_signed(distance.into());
            let is_target = match opcode {
                0x8b => targets.words.contains(&address),
                _ => targets.functions.contains(&address),
            };
            if place & 0xc7 != 0x05 || !is_target {
                continue;
            }
            let register = place >> 3 & 7;
            // `call *register`; the registers from r8 on have a prefix.
            let call = [0x41, 0xff, 0xd0 | register];
            let call = if rex == 0x4c { &call[..] } else { &call[1..] };
            let behind = &code.bytes[at + 7..code.bytes.len().min(at + 7 + REACH)];
            let calls = behind.windows(call.len()).enumerate().filter(|(_, bytes)| *bytes == call);
            found.extend(calls.map(|(at, _)| end.wrapping_add((at + call.len()) as u64)));
        }
        found
    }

    pub(super) fn calls(code: &Code<'_>, targets: &Targets) -> Vec<u64> {
        let direct = with_opcode(code, CALL).filter(|(_, _, function)| targets.functions.contains(function));
        let by_word = with_opcode(code, CALL_WORD).filter(|(_, _, word)| targets.words.contains(word));
        direct.chain(by_word).map(|(_, end, _)| end).collect()
    }
}

mod arm {
    use super::{BTreeSet, Code, Targets};

    /// `bti c`, the optional first instruction of a stub.
    const BTI_C: u32 = 0xd503_245f;

    fn instructions(code: &Code<'_>) -> impl Iterator<Item = (u64, u32)> {
        let (words, _) = code.bytes.as_chunks::<4>();
        (code.address..).step_by(4).zip(words.iter().map(|word| u32::from_le_bytes(*word)))
    }

    /// Decodes `adrp x16, page`; returns the page.
    fn page(address: u64, instruction: u32) -> Option<u64> {
        let pages = (instruction >> 5 & 0x7_ffff) << 2 | instruction >> 29 & 3;
        // A signed 21-bit number.
        let distance = i64::from((pages << 11) as i32 >> 11) << 12;
        (instruction & 0x9f00_001f == 0x9000_0010).then(|| (address & !0xfff).wrapping_add_signed(distance))
    }

    /// Decodes `ldr x17, [x16, offset]`; returns the offset.
    fn offset(instruction: u32) -> Option<u64> {
        (instruction & 0xffc0_03ff == 0xf940_0211).then(|| u64::from(instruction >> 10 & 0xfff) << 3)
    }

    /// Decodes `bl function`; returns the function.
    fn called(address: u64, instruction: u32) -> Option<u64> {
        let distance = i64::from((instruction << 6) as i32 >> 6) << 2;
        (instruction >> 26 == 0b10_0101).then(|| address.wrapping_add_signed(distance))
    }

    pub(super) fn stubs(code: &Code<'_>, words: &BTreeSet<u64>) -> Vec<u64> {
        let all: Vec<(u64, u32)> = instructions(code).collect();
        let mut found = Vec::new();
        for (at, pair) in all.windows(2).enumerate() {
            let [(address, first), (_, second)] = *pair else { continue };
            let word = page(address, first).zip(offset(second)).map(|(page, offset)| page + offset);
            if word.is_some_and(|word| words.contains(&word)) {
                found.push(address);
                let before = at.checked_sub(1).and_then(|at| all.get(at));
                found.extend(before.filter(|(_, code)| *code == BTI_C).map(|(address, _)| address));
            }
        }
        found
    }

    pub(super) fn calls(code: &Code<'_>, targets: &Targets) -> Vec<u64> {
        let is_one = |(address, instruction): &(u64, u32)| {
            called(*address, *instruction).is_some_and(|function| targets.functions.contains(&function))
        };
        instructions(code).filter(is_one).map(|(address, _)| address + 4).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_by_word(machine: Machine, word: u64, code: &[Code<'_>]) -> Vec<u64> {
        find(machine, code, Targets { functions: BTreeSet::new(), words: BTreeSet::from([word]) })
    }

    #[test]
    fn calls_through_a_stub_and_through_the_word_are_found_on_x86_64() {
        // endbr64; jmp *0x3000(%rip).
        let stub = Code { address: 0x1000, bytes: &[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0xf6, 0x1f, 0, 0] };
        // nop; call 0x1000; call *0x3000(%rip); call 0x1001; call 0x1004.
        let bytes = [
            0x90, 0xe8, 0xfa, 0xfe, 0xff, 0xff, 0xff, 0x15, 0xf4, 0x1e, 0, 0, 0xe8, 0xf0, 0xfe, 0xff, 0xff,
            0xe8, 0xee, 0xfe, 0xff, 0xff,
        ];
        let calls = Code { address: 0x1100, bytes: &bytes };
        assert_eq!(find_by_word(Machine::X86, 0x3000, &[stub, calls]), [0x1106, 0x110c, 0x1116]);
    }

    #[test]
    fn calls_through_a_loaded_register_are_candidates() {
        // mov 0x3000(%rip), %r14; call *%r14; call *%rsi; lea 0x2000(%rip), %rbx; call *%rbx.
        let bytes = [
            0x4c, 0x8b, 0x35, 0xf9, 0x1f, 0, 0, 0x41, 0xff, 0xd6, 0xff, 0xd6, 0x48, 0x8d, 0x1d, 0xed, 0x0f,
            0, 0, 0xff, 0xd3,
        ];
        let code = [Code { address: 0x1000, bytes: &bytes }];
        let targets = Targets { functions: BTreeSet::from([0x2000]), words: BTreeSet::from([0x3000]) };
        assert!(find(Machine::X86, &code, targets.clone()).is_empty());
        assert_eq!(find_candidates(Machine::X86, &code, targets), [0x100a, 0x1015]);
    }

    #[test]
    fn calls_through_a_stub_are_found_on_aarch64() {
        // bti c; adrp x16, 0x11000; ldr x17, [x16, 0xff8]; add x16, x16, 0xff8; br x17.
        let stub = [0xd503_245f_u32, 0x9000_0090, 0xf947_fe11, 0x913f_e210, 0xd61f_0220];
        let stub: Vec<u8> = stub.iter().flat_map(|word| word.to_le_bytes()).collect();
        // bl 0x1000 from 0x1100, which is 64 instructions back; nop; bl 0x1004; bl elsewhere.
        let calls = [0x97ff_ffc0_u32, 0xd503_201f, 0x97ff_ffbf, 0x97ff_ffff];
        let calls: Vec<u8> = calls.iter().flat_map(|word| word.to_le_bytes()).collect();
        let code = [Code { address: 0x1000, bytes: &stub }, Code { address: 0x1100, bytes: &calls }];
        assert_eq!(find_by_word(Machine::Arm, 0x11ff8, &code), [0x1104, 0x110c]);
    }

    #[test]
    fn a_call_at_the_end_of_the_code_is_found_and_a_cut_one_is_not() {
        let targets = || Targets { functions: BTreeSet::from([0x1005]), words: BTreeSet::new() };
        let call = [0xe8, 0, 0, 0, 0];
        assert_eq!(find(Machine::X86, &[Code { address: 0x1000, bytes: &call }], targets()), [0x1005]);
        assert!(find(Machine::X86, &[Code { address: 0x1000, bytes: &call[..4] }], targets()).is_empty());
    }
}
