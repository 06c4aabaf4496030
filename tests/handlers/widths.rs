// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparisons, divisions and switches of each width, to be compiled with instrumentation. widths.c is the
//! same in C.

fn compare_bytes(value: u64) -> i32 {
    let [a, b] = [value as i8, (value >> 8) as i8];
    (a == b) as i32
}

fn compare_halves(value: u64) -> i32 {
    let [a, b] = [value as i16, (value >> 16) as i16];
    (a == b) as i32
}

fn compare_words(value: u64) -> i32 {
    let [a, b] = [value as u32, (value >> 32) as u32];
    (a == b) as i32
}

fn is_this_byte(value: u64) -> i32 {
    (value as i8 == -2) as i32
}

fn is_this_half(value: u64) -> i32 {
    (value as i16 == -2) as i32
}

fn divide_by_word(value: u64) -> i32 {
    (1000 / value as u32) as i32
}

fn divide_by_value(value: u64) -> i32 {
    (1000 / value) as i32
}

fn switch_byte(value: u64) -> i32 {
    match value as i8 {
        1 => 1,
        -2 => 2,
        4 => 3,
        _ => 0,
    }
}

fn switch_half(value: u64) -> i32 {
    match value as i16 {
        1 => 1,
        -2 => 2,
        4 => 3,
        _ => 0,
    }
}

fn switch_word(value: u64) -> i32 {
    match value as i32 {
        1 => 1,
        -2 => 2,
        4 => 3,
        _ => 0,
    }
}

static OPERATIONS: [fn(u64) -> i32; 10] = [
    compare_bytes,
    compare_halves,
    compare_words,
    is_this_byte,
    is_this_half,
    divide_by_word,
    divide_by_value,
    switch_byte,
    switch_half,
    switch_word,
];

/// Called by the handler in `branches.c`.
#[unsafe(no_mangle)]
pub extern "C" fn decide(key: u32, value: u64) -> i32 {
    OPERATIONS[key as usize](value)
}
