//! What the broker and a reader give up before they receive untrusted input.
//!
//! | process | capabilities that stay | system calls |
//! |---|---|---|
//! | broker | to inspect tasks, kill them, lease areas | a list; others fail with `EPERM`, and the kernel logs them |
//! | reader | to inspect tasks | a shorter list; any other call kills the reader |
//! | spawner | all | all: it starts processes, and receives requests from the broker only |
//!
//! A call that is missing in the broker's list does not kill it, because its tenant would end with it; a
//! killed reader is replaced like a worker. Rootless there are no capabilities to drop, and the lists are the
//! same.
//!
//! Each function is called once, by a process with one thread. Its effect is permanent.

pub mod rules;

#[cfg(test)]
mod tests;

use crate::sys::{filter, path_lookup, privilege};
use kcov_sys::descriptors;
use kcov_sys::filter::{Bpf, BuildError};
use kcov_sys::rules::{Denial, build};
use kcov_sys::{StepError, step};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Capabilities of a broker that runs as root, by their numbers in `include/uapi/linux/capability.h`.
const BROKER_CAPABILITIES: u64 = INSPECT | KILL | LEASE;
/// Capabilities of its readers. `holds_number` sends signal 0, for which `EPERM` is an answer as well.
const READER_CAPABILITIES: u64 = INSPECT;

/// `CAP_SYS_PTRACE`: descriptors, memory and root of a tenant's tasks. `CAP_DAC_READ_SEARCH`: the directories
/// that lead there. `/proc/TID/fd` of a task under another uid has mode 0500 and that uid as owner
/// (`proc_fd_permission`, `fs/proc/fd.c`): without it `statx("/proc/TID/fd/N")` fails with `EACCES`.
const INSPECT: u64 = 1 << 19 | 1 << 2;
/// `CAP_KILL`: workers and tenants under other uids.
const KILL: u64 = 1 << 5;
/// `CAP_LEASE`: a lease shows whether an area is in use, also one to which a tenant has given another owner.
const LEASE: u64 = 1 << 28;

const BROKER_DENIAL: Denial = Denial::Fail(libc::EPERM);
const READER_DENIAL: Denial = Denial::Kill;

/// Why a process could not be confined. It must end: some steps may have been taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The filter could not be built.
    #[error(transparent)]
    Filter(#[from] BuildError),
    /// A system call failed.
    #[error(transparent)]
    Step(#[from] StepError),
}

/// Confines the broker: after it has forked the spawner and opened its files, before it serves its tenant.
///
/// # Errors
/// [`ConfineError`], after which the process must end.
pub fn broker() -> Result<(), ConfineError> {
    confine(&broker_filter()?, BROKER_CAPABILITIES)
}

/// Confines a reader: after its fork, with its descriptors in place. `program` is [`reader_filter`]'s, built
/// once: each worker has a reader, and callers wait for its start.
///
/// # Errors
/// [`ConfineError`], after which the process must end.
pub fn reader(program: &Bpf) -> Result<(), ConfineError> {
    confine(program, READER_CAPABILITIES)
}

/// Closes all descriptors except `keep` and standard error; opens `/dev/null` as standard input and output.
///
/// For a forked process, which has copies of all descriptors of its parent. Owners of the closed ones are
/// left with numbers that are not theirs: the process must not use them again, nor return to code that drops
/// them.
///
/// # Errors
/// [`ConfineError::Step`].
pub fn keep_only(keep: &[BorrowedFd<'_>]) -> Result<(), ConfineError> {
    let keep: Vec<_> = keep.iter().map(|fd| fd.as_raw_fd()).chain([libc::STDERR_FILENO]).collect();
    Ok(descriptors::close_others(&keep).map_err(step("close descriptors"))?)
}

fn confine(program: &Bpf, capabilities: u64) -> Result<(), ConfineError> {
    let held = privilege::capabilities().map_err(step("capget"))?;
    if held.effective & privilege::SETPCAP != 0 {
        privilege::limit_bounding_set(capabilities).map_err(step("prctl(PR_CAPBSET_DROP)"))?;
    }
    // Without inheritable capabilities there are no ambient ones either (cap_capset, security/commoncap.c).
    privilege::set_capabilities(held.permitted & capabilities).map_err(step("capset"))?;
    Ok(filter::confine(program).map_err(step("seccomp"))?)
}

/// Builds the filter of the broker.
fn broker_filter() -> Result<Bpf, BuildError> {
    build(rules::BROKER, BROKER_DENIAL)
}

/// Builds the filter of readers.
///
/// # Errors
/// [`BuildError`], which names the step.
pub fn reader_filter() -> Result<Bpf, BuildError> {
    // Before the readers are forked: they inherit the page. If it cannot be made, their lookups report it.
    let _ = path_lookup::prepare();
    build(rules::READER, READER_DENIAL)
}
