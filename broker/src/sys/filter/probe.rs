//! For tests: system calls with chosen registers, children that make them, and what their listener hears.

use super::install;
use crate::sandbox::filter::Bpf;
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Makes a system call with these registers.
pub fn call(number: i64, args: [u64; 6]) -> Result<i64, Errno> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: only made in a child of `child`, with arguments that the kernel rejects or under a filter that does: all
    // bits set is no address, length or descriptor of anything.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// Makes a system call of the 32-bit table; the answer is the kernel's, negative for an error.
#[cfg(target_arch = "x86_64")]
pub fn call_i386(number: u32, [b, c, d]: [u32; 3]) -> i32 {
    let mut answer = u64::from(number);
    // SAFETY: as `call`; the kernel keeps all registers but rax, and those that int 0x80 clobbers (r8 to r11) are named.
    // rbx is LLVM's own, so it is swapped in and out.
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

/// Installs `program` in the calling thread, as a tenant does, and owns the listener.
pub fn install_owned(program: &Bpf) -> Result<OwnedFd, Errno> {
    install(program).map(|listener| owned(listener.into()))
}

/// Owns the descriptor that a call has just returned.
pub fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for this process; nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// The next notification; waits for it.
pub fn receive(listener: RawFd) -> Result<libc::seccomp_notif, Errno> {
    let mut notification = std::mem::MaybeUninit::<libc::seccomp_notif>::zeroed();
    // SAFETY: the kernel demands a zeroed `seccomp_notif` and writes it whole; all zeroes is one as well.
    unsafe {
        Errno::result(libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, notification.as_mut_ptr()))?;
        Ok(notification.assume_init())
    }
}

/// Answers a notification with a value.
pub fn answer(listener: RawFd, id: u64, val: i64) -> Result<(), Errno> {
    let mut response = libc::seccomp_notif_resp { id, val, error: 0, flags: 0 };
    // SAFETY: the kernel reads a `seccomp_notif_resp`, which is a live one of this frame.
    Errno::result(unsafe { libc::ioctl(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response) })
        .map(drop)
}
