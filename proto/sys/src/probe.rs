//! For tests: system calls with chosen registers, and the children that make them.

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Makes a system call with these registers. For children of [`child`] only: it can do anything.
///
/// # Errors
/// Those of the call.
pub fn call(number: i64, args: [u64; 6]) -> Result<i64, Errno> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: only made in a child of `child`, with arguments that the kernel rejects or under a filter that
    // does: all bits set is not an address, length or descriptor of anything.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Makes a system call of the 32-bit table. Returns the kernel's result, negative for an error.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn call_i386(number: u32, [b, c, d]: [u32; 3]) -> i32 {
    let mut answer = u64::from(number);
    // SAFETY: as `call`; the kernel keeps all registers but rax, and those that int 0x80 clobbers (r8 to r11)
    // are named. LLVM reserves rbx, so it is swapped in and out.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {b:r}", "int 0x80", "xchg rbx, {b:r}",
            b = inout(reg) u64::from(b) => _, inlateout("rax") answer, in("rcx") u64::from(c), in("rdx") u64::from(d),
            in("rsi") 0u64, in("rdi") 0u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer as i32
}

/// Reads from an address at which nothing is mapped.
pub fn fault() {
    let unmapped = std::ptr::without_provenance::<u8>(4096);
    // SAFETY: a volatile read outside of all Rust memory, for which a trap is an allowed outcome; Linux maps
    // nothing below vm.mmap_min_addr.
    unsafe { unmapped.read_volatile() };
}

/// Forks a child that runs `body` and exits with the status that it returns.
///
/// # Panics
/// If the fork fails.
pub fn child(body: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the test harness has threads, so the child restricts itself to system calls and to malloc,
    // which glibc makes usable after a fork; it leaves with `_exit`, which runs nothing of the harness.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => crate::fork::exit_now(body()),
    }
}

/// Returns how a child that runs `body` ended.
///
/// # Panics
/// If it cannot be forked.
pub fn end_of(body: impl FnOnce() -> i32) -> WaitStatus {
    waitpid(child(body), None).expect("waitpid")
}
