//! System calls that the broker and the workers of kcov-broker both make, behind safe functions.
//!
//! | module | holds |
//! |---|---|
//! | [`descriptors`] | what a process inherits, and closing the rest |
//! | [`filter`] | seccomp programs, and their installation |
//! | [`fork`] | forking and executing processes |
//! | [`listener`] | the ioctls of a seccomp listener |
//! | [`privilege`] | capabilities and securebits |
//! | [`rules`] | tables of permitted system calls, and the filters that they become |
//! | [`shared`] | mappings of memory that other processes change |
//! | [`socket`] | messages with descriptors over `SOCK_SEQPACKET` sockets |
//!
//! # Invariants
//! - Unsafe code is allowed module by module, below. Each public function is safe to call with any arguments;
//!   a condition that the compiler cannot check, such as "the process has one thread", is in its
//!   documentation.
//! - Shared memory is accessed through `&[AtomicU64]` or `&[AtomicU8]` only. No function interprets what is
//!   in it.
//! - A descriptor that the kernel returns is owned (`OwnedFd`) before the function returns. The exception is
//!   a new listener: see [`filter::install`].
//! - Nothing here decides what a process may do. Each program has its own tables of [`rules`] and its own
//!   order of steps.
//!
//! Calls that only one of the programs makes are in that program's own `sys` module.
#![deny(unsafe_code)]

use nix::errno::Errno;

#[expect(unsafe_code, reason = "takes over inherited descriptors and closes ranges of them")]
pub mod descriptors;
#[expect(unsafe_code, reason = "passes programs to seccomp(2)")]
pub mod filter;
#[expect(unsafe_code, reason = "fork, exec, signal actions")]
pub mod fork;
#[expect(unsafe_code, reason = "ioctls that take structures")]
pub mod listener;
#[expect(unsafe_code, reason = "capget, capset and prctl have no safe wrapper")]
pub mod privilege;
#[cfg(feature = "probe")]
#[expect(unsafe_code, reason = "makes arbitrary system calls")]
pub mod probe;
pub mod rules;
#[expect(unsafe_code, reason = "maps memory")]
pub mod shared;
#[expect(unsafe_code, reason = "takes over received descriptors")]
pub mod socket;

/// A failed step of a sequence of system calls.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{step}: {errno}")]
pub struct StepError {
    /// Name of the step, or of its system call.
    pub step: &'static str,
    /// Its error.
    pub errno: Errno,
}

/// Adds the name of the step to an errno.
pub fn step(step: &'static str) -> impl Fn(Errno) -> StepError {
    move |errno| StepError { step, errno }
}
