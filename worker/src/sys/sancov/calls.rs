//! The callbacks whose PC is their return address. Compiled code cannot read it, so each callback begins with
//! an instruction that passes it as the last argument.

use super::text::{Text, find};
#[cfg(target_arch = "x86_64")]
use crate::sys::recording::Scope;
use crate::sys::recording::{store_cmp_or, store_pc_or};
use kcov_proto::area::{CmpKind, CmpRecord, CmpSize};
use std::arch::naked_asm;
use std::cell::Cell;

/// Defines callbacks: `extern "C"` functions that jump to a target with their return address after their
/// arguments.
macro_rules! callbacks {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) => $target:ident, $x86:literal, $arm:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// For instrumented code: the arguments are what its compiler lays out.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) {
            // The return address is on top of the stack, and the stack is as the target expects it.
            naked_asm!(concat!("mov ", $x86, ", [rsp]"), "jmp {target}", target = sym $target)
        }

        $(#[$doc])*
        ///
        /// # Safety
        /// For instrumented code: the arguments are what its compiler lays out.
        #[cfg(target_arch = "aarch64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) {
            // The return address is in x30, the link register.
            naked_asm!(concat!("mov ", $arm, ", x30"), "b {target}", target = sym $target)
        }
    )*};
}

/// Records a point by its return address. Every basic block calls this one, so it checks in assembly whether
/// PCs are collected; the straight path is that they are not.
///
/// # Safety
/// For instrumented code.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_trace_pc() {
    // The return address is on top of the stack, and the stack is as the target expects it.
    naked_asm!(
        "mov rax, qword ptr [rip + kcov_worker_armed_pc@GOTTPOFF]",
        "mov rsi, qword ptr fs:[rax]",
        "mov rdi, qword ptr [rsp]",
        "test rsi, rsi",
        "jne {target}",
        "ret",
        target = sym trace_armed_pc,
    )
}

/// Nothing in it panics. As `extern "C"`, the compiler would have to catch a panic here, and could not end it
/// with a jump.
///
/// # Safety
/// `scope` is the one that is armed for PCs.
#[cfg(target_arch = "x86_64")]
unsafe extern "C-unwind" fn trace_armed_pc(caller: u64, scope: &Scope<'static>) {
    scope.store_pc_or(|text| text.get().pc(caller), || trace_pc_elsewhere(caller));
}

#[cfg(target_arch = "aarch64")]
callbacks! {
    /// Records a point by its return address.
    __sanitizer_cov_trace_pc() => trace_pc, "rdi", "x0";
}

callbacks! {
    /// Records a comparison of two variables of 1 byte.
    __sanitizer_cov_trace_cmp1(_a: u8, _b: u8) => trace_cmp1, "rdx", "x2";
    /// As `trace_cmp1`, of 2 bytes.
    __sanitizer_cov_trace_cmp2(_a: u16, _b: u16) => trace_cmp2, "rdx", "x2";
    /// As `trace_cmp1`, of 4 bytes.
    __sanitizer_cov_trace_cmp4(_a: u32, _b: u32) => trace_cmp4, "rdx", "x2";
    /// As `trace_cmp1`, of 8 bytes.
    __sanitizer_cov_trace_cmp8(_a: u64, _b: u64) => trace_cmp8, "rdx", "x2";
    /// Records a comparison of a constant with a variable of 1 byte.
    __sanitizer_cov_trace_const_cmp1(_a: u8, _b: u8) => trace_const_cmp1, "rdx", "x2";
    /// As `trace_const_cmp1`, of 2 bytes.
    __sanitizer_cov_trace_const_cmp2(_a: u16, _b: u16) => trace_const_cmp2, "rdx", "x2";
    /// As `trace_const_cmp1`, of 4 bytes.
    __sanitizer_cov_trace_const_cmp4(_a: u32, _b: u32) => trace_const_cmp4, "rdx", "x2";
    /// As `trace_const_cmp1`, of 8 bytes.
    __sanitizer_cov_trace_const_cmp8(_a: u64, _b: u64) => trace_const_cmp8, "rdx", "x2";
    /// Records a division by a variable of 4 bytes.
    __sanitizer_cov_trace_div4(_divisor: u32) => trace_div4, "rsi", "x1";
    /// Records a division by a variable of 8 bytes.
    __sanitizer_cov_trace_div8(_divisor: u64) => trace_div8, "rsi", "x1";
    /// Records a switch over a value. The table has the number of cases, the bits of the value, and the
    /// cases.
    __sanitizer_cov_trace_switch(_value: u64, _table: *const u64) => trace_switch, "rdx", "x2";
}

/// As `trace_armed_pc` on x86-64: nothing in it panics.
#[cfg(target_arch = "aarch64")]
extern "C-unwind" fn trace_pc(caller: u64) {
    store_pc_or(|text| text.get().pc(caller), || trace_pc_elsewhere(caller));
}

/// Records a point of another module than the last one. Out of line and in tail position, so that the usual
/// case saves no register for it.
#[cold]
#[inline(never)]
fn trace_pc_elsewhere(caller: u64) {
    if let Some(found) = find(caller) {
        let pc = |text: &Cell<Text>| {
            text.set(found);
            found.pc(caller)
        };
        store_pc_or(pc, || ());
    }
}

/// Defines the targets for one size: for two variables, and for a constant with a variable.
macro_rules! comparisons {
    ($($size:ident $type:ty: $variables:ident, $constant:ident;)*) => {$(
        extern "C" fn $variables(a: $type, b: $type, caller: u64) {
            trace_cmp(CmpKind { size: CmpSize::$size, constant: false }, a.into(), b.into(), caller);
        }

        extern "C" fn $constant(a: $type, b: $type, caller: u64) {
            trace_cmp(CmpKind { size: CmpSize::$size, constant: true }, a.into(), b.into(), caller);
        }
    )*};
}

comparisons! {
    One u8: trace_cmp1, trace_const_cmp1;
    Two u16: trace_cmp2, trace_const_cmp2;
    Four u32: trace_cmp4, trace_const_cmp4;
    Eight u64: trace_cmp8, trace_const_cmp8;
}

extern "C" fn trace_div4(divisor: u32, caller: u64) {
    trace_const_cmp4(0, divisor, caller);
}

extern "C" fn trace_div8(divisor: u64, caller: u64) {
    trace_const_cmp8(0, divisor, caller);
}

/// # Safety
/// `table` is the compiler's table for the switch.
unsafe extern "C" fn trace_switch(value: u64, table: *const u64, caller: u64) {
    // SAFETY: by the contract, it begins with the number and the bits.
    let [cases, bits] = unsafe { *table.cast::<[u64; 2]>() };
    // As the kernel does (kernel/kcov.c, Linux 6.12: __sanitizer_cov_trace_switch), which ignores other
    // sizes.
    let Some(size) = CmpSize::from_bytes(bits / 8) else { return };
    // SAFETY: by the contract, the cases follow.
    let cases = unsafe { std::slice::from_raw_parts(table.add(2), cases as usize) };
    for &case in cases {
        trace_cmp(CmpKind { size, constant: true }, size.unextend(case), size.unextend(value), caller);
    }
}

#[inline]
fn trace_cmp(kind: CmpKind, arg1: u64, arg2: u64, caller: u64) {
    store_cmp_or(
        |text| Some(CmpRecord { kind, arg1, arg2, pc: text.get().pc(caller)? }),
        || trace_cmp_elsewhere(kind, arg1, arg2, caller),
    );
}

/// As [`trace_pc_elsewhere`].
#[cold]
#[inline(never)]
fn trace_cmp_elsewhere(kind: CmpKind, arg1: u64, arg2: u64, caller: u64) {
    if let Some(found) = find(caller) {
        let record = |text: &Cell<Text>| {
            text.set(found);
            Some(CmpRecord { kind, arg1, arg2, pc: found.pc(caller)? })
        };
        store_cmp_or(record, || ());
    }
}
