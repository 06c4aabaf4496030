//! Tables of permitted system calls, and the filters that they become.
//!
//! A table has one rule a line, with the code that needs it. A process's filter is built from several tables;
//! calls that none of them lists are denied. All rules are for this machine's own table of calls; calls of
//! another one are denied.

#[cfg(feature = "probe")]
pub mod check;

use crate::filter::{Bpf, BuildError, sort_by_number};
use libc::{
    FUTEX_CLOCK_REALTIME, FUTEX_PRIVATE_FLAG, FUTEX_REQUEUE, FUTEX_WAIT, FUTEX_WAIT_BITSET, FUTEX_WAKE,
    FUTEX_WAKE_BITSET, MADV_DONTDUMP, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MAP_ANONYMOUS, MAP_DENYWRITE,
    MAP_FIXED, MAP_FIXED_NOREPLACE, MAP_LOCKED, MAP_NONBLOCK, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE,
    MAP_SHARED, MAP_STACK, PROT_READ, PROT_WRITE,
};
use libseccomp::{ScmpAction, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};

/// Condition on one argument register: its bits under `mask` are `value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Which register, from 0.
    pub index: u32,
    /// Bits that are compared.
    pub mask: u64,
    /// Their required value.
    pub value: u64,
}

impl Argument {
    /// The whole register is `value`.
    #[must_use]
    pub const fn is(index: u32, value: u64) -> Self {
        Argument { index, mask: u64::MAX, value }
    }

    /// The low 32 bits are `value`, as for arguments that the kernel takes as `int`.
    #[must_use]
    pub const fn int(index: u32, value: i32) -> Self {
        Argument::masked(index, u32::MAX, value.cast_unsigned())
    }

    /// The bits under `mask` are `value`.
    #[must_use]
    pub const fn masked(index: u32, mask: u32, value: u32) -> Self {
        Argument { index, mask: mask as u64, value: value as u64 }
    }

    /// No bit outside `bits` is set.
    #[must_use]
    pub const fn within(index: u32, bits: i32) -> Self {
        Argument { index, mask: !(bits.cast_unsigned() as u64), value: 0 }
    }
}

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name of the call.
    pub call: &'static str,
    /// Conditions, all of which must hold.
    pub when: &'static [Argument],
    /// The error that the call fails with instead of being made.
    pub fails: Option<i32>,
    /// The code that needs it.
    pub need: &'static str,
}

impl Rule {
    /// Allows a call under these conditions.
    #[must_use]
    pub const fn allow(call: &'static str, when: &'static [Argument], need: &'static str) -> Self {
        Rule { call, when, fails: None, need }
    }

    /// Makes a call fail with `errno`.
    #[must_use]
    pub const fn fail(call: &'static str, errno: i32, need: &'static str) -> Self {
        Rule { call, when: ANY, fails: Some(errno), need }
    }
}

/// No condition.
pub const ANY: &[Argument] = &[];
/// Protection of data: no memory of a confined process becomes code.
const DATA: i32 = PROT_READ | PROT_WRITE;

/// Flags of a mapping of private memory that do not change how it is counted (`RLIMIT_DATA`). Not among them:
/// `MAP_GROWSDOWN`, which counts as stack, and `MAP_HUGETLB`, whose pages belong to a pool of the machine.
const MAPPING: i32 = MAP_FIXED
    | MAP_FIXED_NOREPLACE
    | MAP_ANONYMOUS
    | MAP_NORESERVE
    | MAP_POPULATE
    | MAP_NONBLOCK
    | MAP_STACK
    | MAP_LOCKED
    | MAP_DENYWRITE;
/// Private memory, or a private map of a file.
const PRIVATE: Argument = Argument { index: 3, mask: !(MAPPING as u64), value: MAP_PRIVATE as u64 };
/// A shared map of a file. No process needs shared anonymous memory, which `RLIMIT_DATA` does not count.
const SHARED_FILE: Argument =
    Argument { index: 3, mask: !((MAPPING & !MAP_ANONYMOUS) as u64), value: MAP_SHARED as u64 };
/// One of the clocks 0 to 7. Clocks with negative numbers include the processor time of every other process,
/// which shows what it does.
const CLOCK: Argument = Argument::masked(0, !7, 0);

/// An operation on a futex. Those with priority inheritance are missing: they tell whether a thread of another
/// process exists, and raise its priority.
const fn futex(operation: i32) -> Argument {
    let flags = (FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME).cast_unsigned();
    Argument::masked(1, !flags, operation.cast_unsigned())
}

/// Stands for the number of the process that installs the filter: see [`Bpf::set_own_process`]. No process
/// has this number (`PID_MAX_LIMIT` is 2^22).
pub const OWN_PROCESS: i32 = 0x7e11_0e11;

/// What every process needs: for its sockets, and for the C library and the standard library.
pub const RUNTIME: &[Rule] = &[
    // Sockets that are there already.
    Rule::allow("sendmsg", ANY, "Channel::send, with descriptors"),
    Rule::allow("recvmsg", ANY, "Channel::receive"),
    Rule::allow("sendto", ANY, "Channel::send, without descriptors"),
    Rule::allow("poll", ANY, "waiting for a socket"),
    Rule::allow("ppoll", ANY, "waiting for a socket; poll on machines that have no such call"),
    Rule::allow("close", ANY, "OwnedFd::drop"),
    // Memory.
    Rule::allow("mmap", &[Argument::within(2, DATA), PRIVATE], "malloc"),
    Rule::allow("mmap", &[Argument::within(2, DATA), SHARED_FILE], "SharedWords::map"),
    Rule::allow("munmap", ANY, "free; SharedWords::drop"),
    Rule::allow("mremap", ANY, "realloc"),
    Rule::allow("madvise", &[Argument::int(2, MADV_DONTNEED)], "free"),
    Rule::allow("madvise", &[Argument::int(2, MADV_FREE)], "free, in other allocators"),
    Rule::allow(
        "madvise",
        &[Argument::masked(2, !1, MADV_HUGEPAGE as u32)],
        "malloc; sanitizers, not to have any",
    ),
    Rule::allow("madvise", &[Argument::masked(2, !1, MADV_DONTDUMP as u32)], "sanitizers; the opposite"),
    Rule::allow("mprotect", &[Argument::within(2, DATA)], "malloc, growing a heap"),
    Rule::allow("brk", ANY, "malloc"),
    Rule::allow("getrandom", ANY, "seeds of HashMap and malloc"),
    // Locks and time.
    Rule::allow("futex", &[futex(FUTEX_WAIT)], "std::sync, in other C libraries"),
    Rule::allow("futex", &[futex(FUTEX_WAKE)], "std::sync"),
    Rule::allow("futex", &[futex(FUTEX_WAIT_BITSET)], "std::sync"),
    Rule::allow("futex", &[futex(FUTEX_WAKE_BITSET)], "std::sync"),
    Rule::allow("futex", &[futex(FUTEX_REQUEUE)], "condition variables of other C libraries"),
    Rule::allow("clock_gettime", &[CLOCK], "Instant::now where the vDSO has no clock"),
    Rule::allow("clock_nanosleep", &[CLOCK], "thread::sleep"),
    Rule::allow("nanosleep", ANY, "thread::sleep, in other C libraries"),
    Rule::allow("restart_syscall", ANY, "the kernel, resuming a wait after a signal"),
    // Signals and the end.
    Rule::allow("getpid", ANY, "abort; process::id"),
    Rule::allow("gettid", ANY, "abort"),
    Rule::allow("rt_sigprocmask", ANY, "abort; fork"),
    Rule::allow("rt_sigreturn", ANY, "the return from a signal handler"),
    Rule::allow("sigaltstack", ANY, "std's handler of stack overflow, at the end of the thread"),
    Rule::allow("exit", ANY, "the end of the thread"),
    Rule::allow("exit_group", ANY, "process::exit"),
];

/// What happens to a call that no rule lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It raises SIGSYS, which a handler can report before the process dies. A process that has no handler,
    /// ignores the signal or blocks it dies at once.
    Trap,
    /// It kills the process.
    Kill,
    /// It fails with this error.
    Fail(i32),
}

/// Builds the filter of these tables.
///
/// # Errors
/// [`BuildError`], which names the step or the call.
pub fn build(tables: &[&[Rule]], denial: Denial) -> Result<Bpf, BuildError> {
    let denied = match denial {
        Denial::Trap => ScmpAction::Trap,
        Denial::Kill => ScmpAction::KillProcess,
        Denial::Fail(errno) => ScmpAction::Errno(errno),
    };
    let mut context = ScmpFilterContext::new(denied).map_err(BuildError::library("new filter"))?;
    context.set_act_badarch(denied).map_err(BuildError::library("set action for other architectures"))?;
    sort_by_number(&mut context);
    tables.iter().copied().flatten().try_for_each(|rule| add(&mut context, rule))?;
    Bpf::export(&context)
}

fn add(context: &mut ScmpFilterContext, rule: &Rule) -> Result<(), BuildError> {
    let call = ScmpSyscall::from_name(rule.call).map_err(BuildError::library(rule.call))?;
    // libseccomp gives negative numbers to calls that this machine lacks, such as `poll` on aarch64.
    if call.as_raw_syscall() < 0 {
        return Ok(());
    }
    let action = rule.fails.map_or(ScmpAction::Allow, ScmpAction::Errno);
    let compare = |argument: &Argument| {
        ScmpArgCompare::new(argument.index, ScmpCompareOp::MaskedEqual(argument.mask), argument.value)
    };
    let conditions: Vec<_> = rule.when.iter().map(compare).collect();
    context
        .add_rule_conditional_exact(action, call, &conditions)
        .map(drop)
        .map_err(BuildError::library(rule.call))
}
