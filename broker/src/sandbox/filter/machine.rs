//! For tests: an interpreter of filters, for the classic BPF that `seccomp_check_filter` (kernel/seccomp.c)
//! accepts.

use super::Bpf;

pub const X86_64: u32 = 0xc000_003e;
pub const I386: u32 = 0x4000_0003;
pub const AARCH64: u32 = 0xc000_00b7;

/// Returns the filter's action for a call (`SECCOMP_RET_*`), and the number of instructions that it took.
pub fn run(program: &Bpf, arch: u32, number: i32, args: [u64; 6]) -> (u32, usize) {
    let data = words(arch, number, args);
    let (mut accumulator, mut at, mut steps) = (0u32, 0usize, 0);
    loop {
        let i = program.instructions()[at];
        (at, steps) = (at + 1, steps + 1);
        let jump = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match u32::from(i.code) {
            // BPF_LD | BPF_W | BPF_ABS
            0x20 => accumulator = data[i.k as usize / 4],
            // BPF_ALU | BPF_AND | BPF_K
            0x54 => accumulator &= i.k,
            // BPF_JMP | BPF_JA, JEQ, JGT, JGE
            0x05 => at += i.k as usize,
            0x15 => at += jump(accumulator == i.k),
            0x25 => at += jump(accumulator > i.k),
            0x35 => at += jump(accumulator >= i.k),
            // BPF_RET | BPF_K
            0x06 => return (i.k, steps),
            code => panic!("instruction {code:#x} at {at}"),
        }
    }
}

/// Encodes `struct seccomp_data` of a little-endian machine.
fn words(arch: u32, number: i32, args: [u64; 6]) -> [u32; 16] {
    let mut words = [0; 16];
    (words[0], words[1]) = (number as u32, arch);
    for (i, arg) in args.into_iter().enumerate() {
        (words[4 + 2 * i], words[5 + 2 * i]) = (arg as u32, (arg >> 32) as u32);
    }
    words
}
