//! Why a process could not be jailed.

use kcov_sys::StepError;
use kcov_sys::filter::BuildError;
use nix::errno::Errno;

/// Why a process could not be jailed. It must end: some steps may have been taken.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Workers never run as root.
    #[error("uid {uid} and gid {gid}: a worker must not run as root")]
    IsRoot {
        /// As requested.
        uid: u32,
        /// As requested.
        gid: u32,
    },
    /// The filter could not be built.
    #[error(transparent)]
    Filter(#[from] BuildError),
    /// A system call failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The machine forbids a namespace, or mounts in it.
    #[error("{step}: {errno}: {}", advice(*.errno))]
    Namespace {
        /// The call.
        step: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// A library has memory that is writable and executable.
    #[error(
        "{mapping} can be written and executed: link handlers without an executable stack and without such segments"
    )]
    WritableCode {
        /// Its line in `/proc/self/maps`.
        mapping: String,
    },
    /// The root was swapped, but this process still has another one.
    #[error("the root is not empty: did a handler change its root while it was loaded?")]
    Root,
    /// The kernel has Landlock, but it failed.
    #[error("Landlock")]
    Landlock(#[source] ::landlock::RulesetError),
    /// The process that started this one is gone.
    #[error("the parent process is gone")]
    Orphan,
}

pub(super) fn step(step: &'static str) -> impl FnOnce(Errno) -> JailError {
    move |errno| StepError { step, errno }.into()
}

/// Returns advice for the usual cause of `errno` (`namespaces(7)`).
fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOSPC | Errno::EUSERS => {
            "there are too many namespaces, raise user.max_net_namespaces and similar limits (sysctl user)"
        }
        Errno::EINVAL | Errno::ENOSYS => "this kernel lacks it, or a chroot prevents it",
        _ => "a container or a security module forbids it, allow kcov-broker to make namespaces and mounts",
    }
}
