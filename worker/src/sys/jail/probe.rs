//! For tests: system calls with chosen registers, and what becomes of the child that makes them.

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Makes a system call with these registers and ignores its answer.
pub fn call(number: i64, args: [u64; 6]) {
    let [a, b, c, d, e, f] = args;
    // SAFETY: only made in a child of `child`, with arguments that the kernel rejects or under a filter that does: all
    // bits set is no address, length or descriptor of anything.
    unsafe { libc::syscall(number, a, b, c, d, e, f) };
}

/// Reads where nothing is mapped.
pub fn fault() {
    let unmapped = std::ptr::without_provenance::<u8>(4096);
    // SAFETY: a volatile read outside of all Rust memory, for which a trap is an outcome that is allowed for; Linux
    // maps nothing below vm.mmap_min_addr.
    unsafe { unmapped.read_volatile() };
}

/// Forks a child that runs `body` and exits with its answer.
pub fn child(body: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the test harness has threads, so the child keeps to system calls and to malloc, which glibc makes usable
    // after a fork; it leaves with `_exit`, running nothing of the harness.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let status = body();
            // SAFETY: takes an integer and does not return.
            unsafe { libc::_exit(status) }
        }
    }
}

/// How a child that runs `body` ended.
pub fn end_of(body: impl FnOnce() -> i32) -> WaitStatus {
    waitpid(child(body), None).expect("waitpid")
}
