//! The registers of the thread that a signal interrupted.

use std::ffi::{c_int, c_void};

/// `si_code` of a `SIGSYS` that a filter raised (`include/uapi/asm-generic/siginfo.h`).
pub(super) const SYS_SECCOMP: c_int = 1;

/// Returns the address at which the signal interrupted the thread.
pub(super) fn interrupted(context: *const c_void) -> u64 {
    // SAFETY: the kernel passes a `ucontext_t` to a handler with SA_SIGINFO.
    let Some(context) = (unsafe { context.cast::<libc::ucontext_t>().as_ref() }) else { return 0 };
    #[cfg(target_arch = "x86_64")]
    let at = context.uc_mcontext.gregs[libc::REG_RIP as usize].cast_unsigned();
    #[cfg(target_arch = "aarch64")]
    let at = context.uc_mcontext.pc;
    at
}

/// Moves the thread back to the instruction that raised the signal, so that it is executed again when the
/// handler returns, as after a fault. The kernel has restored the registers of a forbidden call
/// (`syscall_rollback`, kernel/seccomp.c).
pub(super) fn rewind(signal: c_int, info: *const libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a `siginfo_t` and a `ucontext_t` to a handler with SA_SIGINFO; they exist
    // while it runs.
    let (info, context) = unsafe { (info.as_ref(), context.cast::<libc::ucontext_t>().as_mut()) };
    let (Some(info), Some(context)) = (info, context) else { return };
    #[cfg(target_arch = "x86_64")]
    {
        context.uc_mcontext.gregs[libc::REG_RIP as usize] -= match (signal, info.si_code) {
            // `int3`: no other instruction raises SIGTRAP with this code (`do_int3`,
            // arch/x86/kernel/traps.c).
            (libc::SIGTRAP, libc::SI_KERNEL) => 1,
            // `syscall`, `sysenter` and `int 0x80` have the same length.
            (libc::SIGSYS, SYS_SECCOMP) => 2,
            _ => 0,
        };
    }
    // After a `brk` the thread is still at that instruction.
    #[cfg(target_arch = "aarch64")]
    if (signal, info.si_code) == (libc::SIGSYS, SYS_SECCOMP) {
        context.uc_mcontext.pc -= 4;
    }
}

/// Moves the thread to the return address of the function that it has just called.
pub(super) fn return_to_caller(context: &mut libc::ucontext_t) {
    #[cfg(target_arch = "x86_64")]
    {
        let registers = &mut context.uc_mcontext.gregs;
        let top = registers[libc::REG_RSP as usize].cast_unsigned() as usize;
        // SAFETY: the thread's own stack, on top of which the call has left the return address. If the stack
        // pointer is invalid this faults, and the default action, which is restored by now, kills the
        // process.
        let caller = unsafe { std::ptr::with_exposed_provenance::<i64>(top).read_unaligned() };
        registers[libc::REG_RIP as usize] = caller;
        registers[libc::REG_RSP as usize] += 8;
    }
    #[cfg(target_arch = "aarch64")]
    {
        // x30 is the link register.
        context.uc_mcontext.pc = context.uc_mcontext.regs[30];
    }
}
