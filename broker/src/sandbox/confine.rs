//! What the broker and a reader give up before they hear from anybody hostile.
//!
//! | process | capabilities that stay | system calls |
//! |---|---|---|
//! | broker | to look into tasks, kill them, lease arenas | a list; others are `EPERM`, and logged by the kernel |
//! | reader | to look into tasks | a shorter list; any other kills the reader |
//! | spawner | all | all: it starts things, and hears from the broker alone |
//!
//! The broker is never killed by a call that is missing in its list, as all its tenants would go with it; a reader
//! is replaced like a worker. Rootless there are no capabilities to drop, and the lists hold all the same.
//!
//! Each function is called once, by a process with one thread, and lasts: nothing gives back what was given up.

pub mod rules;

#[cfg(test)]
mod tests;

use crate::sandbox::filter::{Bpf, FilterError, library, sort_by_number};
use crate::sys::{filter, privilege};
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::errno::Errno;
use rules::{RULES, Rule, Who};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Capabilities of a broker that runs as root, by their numbers in `include/uapi/linux/capability.h`.
const BROKER_CAPABILITIES: u64 = LOOK | KILL | LEASE;
/// Capabilities of its readers.
const READER_CAPABILITIES: u64 = LOOK | KILL;

/// `CAP_SYS_PTRACE`: descriptors, memory and root of a tenant's tasks, and pidfds' descriptors.
/// `CAP_DAC_READ_SEARCH`: the way there. `/proc/TID/fd` of a task under another uid has mode 0500 and that uid as
/// owner (`proc_fd_permission`, `fs/proc/fd.c`): without it `statx("/proc/TID/fd/N")` is `EACCES`.
const LOOK: u64 = 1 << 19 | 1 << 2;
/// `CAP_KILL`: workers and tenants under uids of their own; signal 0 as well.
const KILL: u64 = 1 << 5;
/// `CAP_LEASE`: whether an arena is in use is asked by lease, also of one that a tenant has given another owner.
const LEASE: u64 = 1 << 28;

/// Why a process is not confined. It must end: some steps may have been done.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The filter could not be built.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A system call failed.
    #[error("{step}: {errno}")]
    Step {
        /// Which one.
        step: &'static str,
        /// What it said.
        errno: Errno,
    },
}

fn step(step: &'static str) -> impl FnOnce(Errno) -> ConfineError {
    move |errno| ConfineError::Step { step, errno }
}

/// Confines the broker: after the spawner was forked and its files were opened, before it serves anybody.
///
/// # Errors
/// [`ConfineError`], after which the process must end.
pub fn broker() -> Result<(), ConfineError> {
    // First, while all calls can be made.
    confine(&build(Who::Broker)?, BROKER_CAPABILITIES)
}

/// Confines a reader: after its fork, with its descriptors in place. `program` is [`build`]'s for readers, built once, as a
/// reader is started for each worker and callers wait for it.
///
/// # Errors
/// [`ConfineError`], after which the process must end.
pub fn reader(program: &Bpf) -> Result<(), ConfineError> {
    confine(program, READER_CAPABILITIES)
}

/// Closes every descriptor but `keep` and standard error; standard input and output lead to `/dev/null`.
///
/// For a forked helper, which holds copies of all that its parent has open. Whatever owned the others is left with
/// numbers that are not its own: the helper must not touch it again, and must not return to code that drops it.
///
/// # Errors
/// [`ConfineError::Step`].
pub fn keep_only(keep: &[BorrowedFd<'_>]) -> Result<(), ConfineError> {
    let keep: Vec<_> = keep.iter().map(|fd| fd.as_raw_fd()).chain([libc::STDERR_FILENO]).collect();
    privilege::close_others(&keep).map_err(step("close descriptors"))
}

fn confine(program: &Bpf, capabilities: u64) -> Result<(), ConfineError> {
    let held = privilege::capabilities().map_err(step("capget"))?;
    if held.effective & privilege::SETPCAP != 0 {
        privilege::limit_bounding_set(capabilities).map_err(step("prctl(PR_CAPBSET_DROP)"))?;
    }
    // Without inheritable ones there are no ambient ones either (cap_capset, security/commoncap.c).
    privilege::set_capabilities(held.permitted & capabilities).map_err(step("capset"))?;
    filter::confine(program).map_err(step("seccomp"))
}

/// Builds the filter of the rules for `who`, for this machine's own table; calls of another table are denied alike.
///
/// # Errors
/// [`FilterError`], which names the step.
pub fn build(who: Who) -> Result<Bpf, FilterError> {
    let denied = match who {
        Who::Broker => ScmpAction::Errno(libc::EPERM),
        Who::Reader => ScmpAction::KillProcess,
    };
    let mut context = ScmpFilterContext::new(denied).map_err(library("new filter"))?;
    context.set_act_badarch(denied).map_err(library("set action for other architectures"))?;
    sort_by_number(&mut context);
    RULES.iter().filter(|rule| rule.is_for(who)).try_for_each(|rule| add(&mut context, rule))?;
    Bpf::export(&context)
}

fn add(context: &mut ScmpFilterContext, rule: &Rule) -> Result<(), FilterError> {
    let call = ScmpSyscall::from_name(rule.call).map_err(library(rule.call))?;
    // libseccomp gives calls that this machine lacks negative numbers: `poll` on aarch64.
    if call.as_raw_syscall() < 0 {
        return Ok(());
    }
    let conditions: Vec<_> = rule
        .when
        .iter()
        .map(|argument| {
            ScmpArgCompare::new(argument.index, ScmpCompareOp::MaskedEqual(argument.mask), argument.value)
        })
        .collect();
    context
        .add_rule_conditional_exact(ScmpAction::Allow, call, &conditions)
        .map(drop)
        .map_err(library(rule.call))
}
