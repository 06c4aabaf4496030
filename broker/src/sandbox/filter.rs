//! The filter that a tenant runs under: which of its calls become notifications.
//!
//! Built with libseccomp, exported as a BPF program and installed by [`crate::sys::filter::install`], because
//! libseccomp 2.5 cannot ask for `WAIT_KILLABLE_RECV`.
//!
//! Rules of thumb that every set follows:
//! - descriptors and requests are compared as the kernel sees them, the low 32 bits: clients pass sign-extended
//!   requests such as `0xffffffff80086301`;
//! - callers of the 32-bit table are filtered by their own numbers;
//! - x32 numbers and architectures that are not this machine's are left alone, so that the kernel answers them
//!   (`ENOSYS` where x32 is not built). A tenant gains nothing by them: it finds the placeholder and no device.

mod program;

#[cfg(all(test, target_arch = "x86_64"))]
mod live;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;

pub use program::Bpf;

use crate::launch::trace_set::{Known, NEVER_TRACED, Profile, TraceSet, by_name};
use kcov_proto::abi;
use kcov_proto::claims::{CallClaim, Claims, RequestBlock};
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use std::collections::BTreeSet;

/// The table of this machine's own programs.
const NATIVE: ScmpArch = if cfg!(target_arch = "aarch64") { ScmpArch::Aarch64 } else { ScmpArch::X8664 };
/// The table of its 32-bit programs.
const COMPAT: ScmpArch = if cfg!(target_arch = "aarch64") { ScmpArch::Arm } else { ScmpArch::X86 };

/// Calls of the device whatever their arguments: the ways to open a path, and `execve`, which renames the caller.
const DEVICE_CALLS: &[&str] = &["open", "openat", "openat2", "creat", "execve", "execveat"];

/// Requests of the KCOV device, as `ioctl` takes them.
const DEVICE_REQUESTS: [u32; 6] =
    [abi::INIT_TRACE, abi::ENABLE, abi::DISABLE, abi::REMOTE_ENABLE, abi::UNIQUE_ENABLE, abi::RESET_TRACE];

/// Calls that map memory.
const MAPS: &[&str] = &["mmap", "mmap2"];

/// What `syzkaller` leaves out of `all`: calls that syz-executor makes for itself around every call of a test program.
/// Its threads hand each other work by futex, its loops sleep and read the clock under deadlines of 50 ms, its signal
/// handling changes masks; a round trip each would be paid several times a call, and shows nothing of the program.
/// A test program's own such calls have no coverage; `syzkaller,futex` brings one back.
const EXECUTOR_LOOP: &[&str] = &[
    "clock_gettime",
    "clock_gettime64",
    "clock_nanosleep",
    "clock_nanosleep_time64",
    "exit",
    "exit_group",
    "futex",
    "futex_time64",
    "gettimeofday",
    "nanosleep",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_yield",
    "sigaction",
    "sigprocmask",
    "time",
];

/// Why no filter came out.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// libseccomp refused a step.
    #[error("libseccomp: {step}")]
    Library {
        /// Which step, or the call that a rule is for.
        step: String,
        /// What it said.
        source: SeccompError,
    },
    /// The program did not come out of libseccomp.
    #[error("reading the filter back from libseccomp")]
    Export(#[source] std::io::Error),
    /// The program has a length that the kernel does not take.
    #[error("a filter of {bytes} bytes: the kernel takes 1 to 4096 instructions of 8 bytes")]
    Size {
        /// Its length.
        bytes: usize,
    },
    /// A name that no table has.
    #[error("no system call is named `{0}`")]
    Unknown(String),
    /// A call that no handler can have.
    #[error(
        "`{0}` cannot be handled: it returns from signal handlers, and a call between the two crashes programs"
    )]
    Never(String),
}

pub(crate) fn library(step: &str) -> impl FnOnce(SeccompError) -> FilterError + '_ {
    move |source| FilterError::Library { step: step.to_owned(), source }
}

/// Builds the filter of a set of calls, for this machine's architecture and its 32-bit one.
///
/// # Errors
/// [`FilterError`], which names the step; none depends on the tenant.
pub fn build(set: &TraceSet) -> Result<Bpf, FilterError> {
    build_for(set, &Claims::default())
}

/// As [`build`], with what handlers claim besides.
///
/// # Errors
/// As [`build`]; also [`FilterError::Unknown`] and [`FilterError::Never`] for a call that a handler claims.
pub fn build_for(set: &TraceSet, claims: &Claims) -> Result<Bpf, FilterError> {
    check(claims)?;
    let wanted = Wanted { set, claims };
    let mut whole = table(&wanted, NATIVE)?;
    whole.merge(table(&wanted, COMPAT)?).map_err(library("merge"))?;
    Ok(Bpf::export(&whole)?.with_notified(&numbers(set)))
}

/// Whether a filter can have what handlers claim.
///
/// # Errors
/// [`FilterError::Unknown`], [`FilterError::Never`].
pub fn check(claims: &Claims) -> Result<(), FilterError> {
    claims.calls().try_for_each(|claim| match by_name(&claim.call) {
        _ if NEVER_TRACED.contains(&&*claim.call) => Err(FilterError::Never(claim.call.clone())),
        Some(Known::Library(_)) => Ok(()),
        Some(Known::Number(_)) | None => Err(FilterError::Unknown(claim.call.clone())),
    })
}

/// What is to become a notification, of a run.
struct Wanted<'a> {
    set: &'a TraceSet,
    claims: &'a Claims,
}

impl Wanted<'_> {
    /// Whether a call is wanted whatever its arguments, by the set or by a handler.
    fn names(&self, call: &str) -> bool {
        self.set.names(call) || self.claims.calls().any(|claim| claim.call == call && claim.when.is_empty())
    }

    /// Whether a call is wanted at all.
    fn mentions(&self, call: &str) -> bool {
        self.set.names(call) || self.claims.calls().any(|claim| claim.call == call)
    }

    /// All calls that [`names`](Self::names) is true of, each once.
    fn named(&self) -> BTreeSet<&str> {
        let claimed = self.claims.calls().filter(|claim| claim.when.is_empty());
        self.set.calls().chain(claimed.map(|claim| claim.call.as_str())).collect()
    }
}

/// Calls that are named in the set and that libseccomp does not know. All of them are in every table.
fn numbers(set: &TraceSet) -> Vec<u32> {
    let number = |call| match by_name(call) {
        Some(Known::Number(number)) => Some(number),
        Some(Known::Library(_)) | None => None,
    };
    match set.profile() {
        Profile::Kcov => set.calls().filter_map(number).collect(),
        Profile::Syzkaller | Profile::All => Vec::new(),
    }
}

/// The rules for one table of system calls. One context a table, as i386 passes the arguments of `mmap` otherwise.
fn table(wanted: &Wanted<'_>, arch: ScmpArch) -> Result<ScmpFilterContext, FilterError> {
    let mut rules = Rules::new(wanted.set.profile(), arch)?;
    match wanted.set.profile() {
        Profile::Kcov => add_device(&mut rules, wanted)?,
        Profile::Syzkaller => {
            let left_alone = EXECUTOR_LOOP.iter().copied().filter(|call| !wanted.mentions(call));
            left_alone.chain(NEVER_TRACED.iter().copied()).try_for_each(|call| rules.add(call, &[]))?;
        }
        Profile::All => NEVER_TRACED.iter().try_for_each(|call| rules.add(call, &[]))?,
    }
    Ok(rules.context)
}

/// The device's calls, and those that the set and the handlers want besides.
fn add_device(rules: &mut Rules, wanted: &Wanted<'_>) -> Result<(), FilterError> {
    let device = DEVICE_CALLS.iter().copied().filter(|call| !wanted.names(call));
    let named = wanted.named().into_iter().filter(|call| !MAPS.contains(call));
    device.chain(named).try_for_each(|call| rules.add(call, &[]))?;
    if !wanted.names("ioctl") {
        let blocks = wanted.claims.devices().flat_map(|device| device.blocks());
        let device = DEVICE_REQUESTS.map(|request| RequestBlock { mask: u32::MAX, value: request });
        for RequestBlock { mask, value } in blocks.chain(device) {
            rules.add("ioctl", &[bits(1, u64::from(mask), u64::from(value))])?;
        }
    }
    add_conditional(rules, wanted)?;
    add_maps(rules, wanted)
}

/// Claims with conditions, of calls that are not notified in any case.
fn add_conditional(rules: &mut Rules, wanted: &Wanted<'_>) -> Result<(), FilterError> {
    let every = |call: &str| DEVICE_CALLS.contains(&call) || wanted.names(call);
    let conditional = wanted.claims.calls().filter(|claim| !claim.when.is_empty() && !every(&claim.call));
    for CallClaim { call, when } in conditional {
        let conditions = when.iter().map(|c| bits(u32::from(c.argument), c.mask, c.value));
        rules.add(call, &conditions.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Maps of files: the kernel looks at the descriptor only without `MAP_ANONYMOUS` (`ksys_mmap_pgoff`, Linux 6.12), and
/// a negative one is its `EBADF`. i386's `mmap` (90) has its arguments in memory, where no filter can look.
fn add_maps(rules: &mut Rules, wanted: &Wanted<'_>) -> Result<(), FilterError> {
    let of_a_file = [bits(3, libc::MAP_ANONYMOUS as u64, 0), bits(4, 1 << 31, 0)];
    for &call in MAPS {
        // Whoever names `mmap` means the 32-bit `mmap2` as well: its C library makes no other.
        let every = wanted.names(call) || wanted.names("mmap");
        let in_memory = call == "mmap" && rules.arch != NATIVE;
        rules.add(call, if every || in_memory { &[] } else { &of_a_file })?;
    }
    Ok(())
}

/// Condition: the bits of argument `index` under `mask` are `value`.
fn bits(index: u32, mask: u64, value: u64) -> ScmpArgCompare {
    ScmpArgCompare::new(index, ScmpCompareOp::MaskedEqual(mask), value)
}

/// The filter of one table, while it is being put together.
struct Rules {
    context: ScmpFilterContext,
    arch: ScmpArch,
    /// What the rules do: the opposite of what happens to all other calls.
    action: ScmpAction,
}

impl Rules {
    fn new(profile: Profile, arch: ScmpArch) -> Result<Self, FilterError> {
        let (others, action) = match profile {
            Profile::Kcov => (ScmpAction::Allow, ScmpAction::Notify),
            Profile::Syzkaller | Profile::All => (ScmpAction::Notify, ScmpAction::Allow),
        };
        let mut context = ScmpFilterContext::new(others).map_err(library("new filter"))?;
        if arch != NATIVE {
            context.add_arch(arch).map_err(library("add architecture"))?;
            context.remove_arch(NATIVE).map_err(library("remove architecture"))?;
        }
        context.set_act_badarch(ScmpAction::Allow).map_err(library("set action for other architectures"))?;
        sort_by_number(&mut context);
        Ok(Rules { context, arch, action })
    }

    /// Adds a rule for `call`. One that this table does not have needs none.
    fn add(&mut self, call: &str, conditions: &[ScmpArgCompare]) -> Result<(), FilterError> {
        match by_name(call).ok_or_else(|| FilterError::Unknown(call.to_owned()))? {
            Known::Library(number) if in_table(call, self.arch) => self
                .context
                .add_rule_conditional(self.action, number, conditions)
                .map(drop)
                .map_err(library(call)),
            // Without libseccomp: see `numbers`.
            Known::Library(_) | Known::Number(_) => Ok(()),
        }
    }
}

/// Whether a table has the call, by a number of its own or as one of the calls that share `socketcall` or `ipc` there.
/// libseccomp gives those numbers from -100 to -299, and calls that a table lacks numbers from -10,000 downward.
fn in_table(call: &str, arch: ScmpArch) -> bool {
    ScmpSyscall::from_name_by_arch(call, arch).is_ok_and(|number| number.as_raw_syscall() > -1000)
}

/// Asks for a binary search over the numbers. Versions before 2.5 have none, and their filter is only slower.
pub(crate) fn sort_by_number(context: &mut ScmpFilterContext) {
    drop(context.set_ctl_optimize(2).map(drop));
}
