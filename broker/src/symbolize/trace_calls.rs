//! Finds the calls to `__sanitizer_cov_trace_pc` in a binary: gcc does not write a table of them.
//!
//! The code is searched for calls with this target, without decoding every instruction. A call encodes the distance to
//! its target, so other bytes rarely look like a call to exactly this target (1 in 2^32 per byte of code on x86-64).

use object::{Architecture, Object, ObjectSection, ObjectSymbol, SectionKind};
use std::collections::BTreeSet;

/// The callback of code without guards.
pub(super) const TRACE_PC: &str = "__sanitizer_cov_trace_pc";

/// The code of a section.
struct Code<'a> {
    address: u64,
    bytes: &'a [u8],
}

/// The targets that calls are searched for.
#[derive(Debug, Default)]
struct Targets {
    /// Addresses of the callback and of stubs that jump to it.
    functions: BTreeSet<u64>,
    /// Addresses of words that hold the address of the callback.
    words: BTreeSet<u64>,
}

/// Search functions for one architecture.
struct Instructions {
    /// Adds the stubs that jump through one of the words.
    stubs: fn(&Code<'_>, &mut Targets),
    /// Returns the return addresses of the calls.
    calls: fn(&Code<'_>, &Targets) -> Vec<u64>,
}

/// Returns the return addresses of all calls, ascending. `words` are the addresses of the words into which the loader
/// writes the address of the callback.
pub(super) fn find(file: &object::File<'_>, words: &[u64]) -> object::Result<Vec<u64>> {
    let instructions = match file.architecture() {
        Architecture::X86_64 => Instructions { stubs: x86::stubs, calls: x86::calls },
        Architecture::Aarch64 => Instructions { stubs: arm::stubs, calls: arm::calls },
        _ => return Ok(Vec::new()),
    };
    let mut targets = Targets { functions: BTreeSet::new(), words: words.iter().copied().collect() };
    let symbols = file.symbols().chain(file.dynamic_symbols());
    let named = symbols.filter(|symbol| symbol.is_definition() && symbol.name() == Ok(TRACE_PC));
    targets.functions.extend(named.map(|symbol| symbol.address()));
    if targets.functions.is_empty() && targets.words.is_empty() {
        return Ok(Vec::new());
    }
    let sections = file.sections().filter(|section| section.kind() == SectionKind::Text);
    let code = sections
        .map(|section| Ok(Code { address: section.address(), bytes: section.data()? }))
        .collect::<object::Result<Vec<_>>>()?;
    for code in &code {
        (instructions.stubs)(code, &mut targets);
    }
    let mut found: Vec<u64> = code.iter().flat_map(|code| (instructions.calls)(code, &targets)).collect();
    found.sort_unstable();
    Ok(found)
}

mod x86 {
    use super::{Code, Targets};

    /// Opcodes of `jmp *word(%rip)`, `call *word(%rip)` and `call function`. A 4-byte distance from the end of the
    /// instruction follows.
    const JUMP: &[u8] = &[0xff, 0x25];
    const CALL_WORD: &[u8] = &[0xff, 0x15];
    const CALL: &[u8] = &[0xe8];
    /// Bytes of a stub before its jump: none, `endbr64`, or `endbr64` and a `bnd` prefix.
    const BEGINNINGS: [&[u8]; 3] = [&[], &[0xf3, 0x0f, 0x1e, 0xfa], &[0xf3, 0x0f, 0x1e, 0xfa, 0xf2]];

    /// Finds instructions with this opcode: their offset, end address and target.
    fn with_opcode<'a>(code: &'a Code<'_>, opcode: &'a [u8]) -> impl Iterator<Item = (usize, u64, u64)> + 'a {
        let length = opcode.len() + 4;
        code.bytes.windows(length).enumerate().filter(move |(_, bytes)| bytes.starts_with(opcode)).filter_map(
            move |(at, bytes)| {
                let distance = i32::from_le_bytes(*bytes.last_chunk()?);
                let end = code.address.wrapping_add((at + length) as u64);
                Some((at, end, end.wrapping_add_signed(distance.into())))
            },
        )
    }

    pub(super) fn stubs(code: &Code<'_>, targets: &mut Targets) {
        for (at, _, word) in with_opcode(code, JUMP) {
            if targets.words.contains(&word) {
                let begins = BEGINNINGS.iter().filter(|bytes| code.bytes[..at].ends_with(bytes));
                targets
                    .functions
                    .extend(begins.map(|bytes| code.address.wrapping_add((at - bytes.len()) as u64)));
            }
        }
    }

    pub(super) fn calls(code: &Code<'_>, targets: &Targets) -> Vec<u64> {
        let direct = with_opcode(code, CALL).filter(|(_, _, function)| targets.functions.contains(function));
        let by_word = with_opcode(code, CALL_WORD).filter(|(_, _, word)| targets.words.contains(word));
        direct.chain(by_word).map(|(_, end, _)| end).collect()
    }
}

mod arm {
    use super::{Code, Targets};

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

    pub(super) fn stubs(code: &Code<'_>, targets: &mut Targets) {
        let all: Vec<(u64, u32)> = instructions(code).collect();
        for (at, pair) in all.windows(2).enumerate() {
            let [(address, first), (_, second)] = *pair else { continue };
            let word = page(address, first).zip(offset(second)).map(|(page, offset)| page + offset);
            if word.is_some_and(|word| targets.words.contains(&word)) {
                targets.functions.insert(address);
                let before = at.checked_sub(1).and_then(|at| all.get(at));
                targets
                    .functions
                    .extend(before.filter(|(_, code)| *code == BTI_C).map(|(address, _)| address));
            }
        }
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

    fn targets(word: u64) -> Targets {
        Targets { functions: BTreeSet::new(), words: BTreeSet::from([word]) }
    }

    #[test]
    fn calls_through_a_stub_and_through_the_word_are_found_on_x86_64() {
        // endbr64; jmp *0x3000(%rip).
        let stub = [0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0xf6, 0x1f, 0, 0];
        let mut targets = targets(0x3000);
        x86::stubs(&Code { address: 0x1000, bytes: &stub }, &mut targets);
        assert_eq!(targets.functions, BTreeSet::from([0x1000, 0x1004]));
        // nop; call 0x1000; call *0x3000(%rip); call 0x1001.
        let code =
            [0x90, 0xe8, 0xfa, 0xfe, 0xff, 0xff, 0xff, 0x15, 0xf4, 0x1e, 0, 0, 0xe8, 0xf0, 0xfe, 0xff, 0xff];
        assert_eq!(x86::calls(&Code { address: 0x1100, bytes: &code }, &targets), [0x1106, 0x110c]);
    }

    #[test]
    fn calls_through_a_stub_are_found_on_aarch64() {
        // bti c; adrp x16, 0x11000; ldr x17, [x16, 0xff8]; add x16, x16, 0xff8; br x17.
        let stub = [0xd503_245f_u32, 0x9000_0090, 0xf947_fe11, 0x913f_e210, 0xd61f_0220];
        let stub: Vec<u8> = stub.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut targets = targets(0x11ff8);
        arm::stubs(&Code { address: 0x1000, bytes: &stub }, &mut targets);
        assert_eq!(targets.functions, BTreeSet::from([0x1000, 0x1004]));
        // bl 0x1000 from 0x1100, which is 64 instructions back; nop; bl 0x1004; bl elsewhere.
        let code = [0x97ff_ffc0_u32, 0xd503_201f, 0x97ff_ffbf, 0x97ff_ffff];
        let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(arm::calls(&Code { address: 0x1100, bytes: &code }, &targets), [0x1104, 0x110c]);
    }
}
