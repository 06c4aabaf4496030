//! A copy of the pointer to the scope that collects a thread's PCs, for code in assembly.
//!
//! A `thread_local!` has no name in assembly, so a callback in assembly would have to jump to compiled code
//! to find out that nothing is armed, which costs a fifth more than an empty call. So on x86-64 there is a
//! second word, defined by hand as the compiler would define it: in the thread-local section, initially null,
//! without a destructor.

use std::arch::{asm, global_asm};

global_asm!(
    ".pushsection .tbss.kcov_worker_armed_pc, \"awT\", @nobits",
    ".balign 8",
    ".globl kcov_worker_armed_pc",
    ".hidden kcov_worker_armed_pc",
    ".type kcov_worker_armed_pc, @object",
    ".size kcov_worker_armed_pc, 8",
    "kcov_worker_armed_pc:",
    ".zero 8",
    ".popsection",
);

/// Sets the word of the calling thread; null means that nothing is armed.
pub(super) fn set(scope: *const ()) {
    // SAFETY: the offset is that of the word above, which every thread has from its start to its end; nothing
    // else writes it, and only assembly reads it.
    unsafe {
        asm!(
            "mov {offset}, qword ptr [rip + kcov_worker_armed_pc@GOTTPOFF]",
            "mov qword ptr fs:[{offset}], {scope}",
            offset = out(reg) _,
            scope = in(reg) scope,
            options(nostack, preserves_flags),
        );
    }
}
