// SPDX-License-Identifier: MIT OR Apache-2.0
//! A function with known branches and comparisons, to be compiled with instrumentation. decide.c is the same
//! in C.

/// Called by the handler in `branches.c`.
#[unsafe(no_mangle)]
pub extern "C" fn decide(key: u32, value: u64) -> i32 {
    if key == 0x1234 {
        if value > 77 {
            return 2;
        }
        return 1;
    }
    match value {
        5 => return 3,
        1000 => return 4,
        70000 => return 6,
        0x1_0000_0000 => return 7,
        _ => {}
    }
    ((key as u64) < value) as i32
}
