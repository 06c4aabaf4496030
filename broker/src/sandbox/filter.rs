//! The filter of a tenant: which of its calls become notifications.
//!
//! Built with libseccomp, exported as a BPF program and installed by [`crate::sys::filter::install`].
//!
//! Rules that hold for every set of calls:
//! - descriptors and requests are compared as the kernel reads them, by their low 32 bits: clients pass
//!   sign-extended requests such as `0xffffffff80086301`;
//! - calls by the 32-bit table are filtered by the numbers of that table;
//! - x32 numbers and other architectures are allowed, so that the kernel answers them (`ENOSYS` where x32 is
//!   not built). A tenant gains nothing by them: the placeholder that it opens is not a device.

#[cfg(all(test, target_arch = "x86_64"))]
mod live;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod tests;

pub use kcov_sys::filter::Bpf;

use crate::launch::trace_set::{Known, NEVER_TRACED, Profile, TraceSet, by_name};
use kcov_proto::abi;
use kcov_proto::claims::{CallClaim, Claims, RequestBlock};
use kcov_sys::filter::{BuildError, sort_by_number};
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use std::collections::BTreeSet;

/// The table of calls of this machine's native programs.
const NATIVE: ScmpArch = if cfg!(target_arch = "aarch64") { ScmpArch::Aarch64 } else { ScmpArch::X8664 };
/// The table of calls of its 32-bit programs.
const COMPAT: ScmpArch = if cfg!(target_arch = "aarch64") { ScmpArch::Arm } else { ScmpArch::X86 };

/// Calls that concern the device, whatever their arguments: those that open a path, and `execve`, which
/// changes the caller's thread id.
const DEVICE_CALLS: &[&str] = &["open", "openat", "openat2", "creat", "execve", "execveat"];

/// `ioctl` requests of the KCOV device.
const DEVICE_REQUESTS: [u32; 6] =
    [abi::INIT_TRACE, abi::ENABLE, abi::DISABLE, abi::REMOTE_ENABLE, abi::UNIQUE_ENABLE, abi::RESET_TRACE];

/// Calls that map memory.
const MAPS: &[&str] = &["mmap", "mmap2"];

/// Calls that `all` traces and `syzkaller` does not: syz-executor makes them for itself around every call of
/// a test program. Its threads synchronise by futex, its loops sleep and read the clock with deadlines of 50
/// ms, its signal handling changes masks. A round trip for each would be paid several times a call, and would
/// cover nothing of the test program. A test program's own calls of these names have no coverage;
/// `syzkaller,futex` adds one again.
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

/// Why a filter could not be built.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The program could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No table has a call of this name.
    #[error("no system call is named `{0}`")]
    Unknown(String),
    /// Handlers cannot claim this call.
    #[error(
        "`{0}` cannot be handled: it returns from signal handlers, and a call between the two crashes programs"
    )]
    Never(String),
}

/// Builds the filter of a set of calls, for this machine's native and 32-bit tables.
///
/// # Errors
/// [`FilterError`]; none depends on the tenant.
pub fn build(set: &TraceSet) -> Result<Bpf, FilterError> {
    build_for(set, &Claims::default())
}

/// As [`build`], with the calls that handlers claim.
///
/// # Errors
/// As [`build`]; also [`FilterError::Unknown`] and [`FilterError::Never`] for a call that a handler claims.
pub fn build_for(set: &TraceSet, claims: &Claims) -> Result<Bpf, FilterError> {
    check(claims)?;
    let wanted = Wanted { set, claims };
    let mut whole = table(&wanted, NATIVE)?;
    whole.merge(table(&wanted, COMPAT)?).map_err(BuildError::library("merge"))?;
    Ok(Bpf::export(&whole)?.with_notified(&numbers(set)))
}

/// Checks that a filter can notify the calls that handlers claim.
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

/// The calls of a run that become notifications.
struct Wanted<'a> {
    set: &'a TraceSet,
    claims: &'a Claims,
}

impl Wanted<'_> {
    /// Returns whether the set or a handler wants a call whatever its arguments.
    fn names(&self, call: &str) -> bool {
        self.set.names(call) || self.claims.calls().any(|claim| claim.call == call && claim.when.is_empty())
    }

    /// Returns whether the set or a handler wants a call, at least under conditions.
    fn mentions(&self, call: &str) -> bool {
        self.set.names(call) || self.claims.calls().any(|claim| claim.call == call)
    }

    /// Returns all calls for which [`names`](Self::names) is true, each once.
    fn named(&self) -> BTreeSet<&str> {
        let claimed = self.claims.calls().filter(|claim| claim.when.is_empty());
        self.set.calls().chain(claimed.map(|claim| claim.call.as_str())).collect()
    }
}

/// Returns the numbers of calls of the set that libseccomp does not know. They are the same in every table.
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

/// Builds the rules for one table of calls. Each table has its own context: i386 passes the arguments of
/// `mmap` in another way.
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

/// Adds the device's calls, and the others that the set and the handlers want.
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

/// Adds claims with conditions, except for calls that are always notified.
fn add_conditional(rules: &mut Rules, wanted: &Wanted<'_>) -> Result<(), FilterError> {
    let every = |call: &str| DEVICE_CALLS.contains(&call) || wanted.names(call);
    let conditional = wanted.claims.calls().filter(|claim| !claim.when.is_empty() && !every(&claim.call));
    for CallClaim { call, when } in conditional {
        let conditions = when.iter().map(|c| bits(u32::from(c.argument), c.mask, c.value));
        rules.add(call, &conditions.collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Adds mappings of files: the kernel reads the descriptor only without `MAP_ANONYMOUS` (`ksys_mmap_pgoff`,
/// Linux 6.12), and returns `EBADF` if it is negative. i386's `mmap` (90) has its arguments in memory, which
/// a filter cannot read.
fn add_maps(rules: &mut Rules, wanted: &Wanted<'_>) -> Result<(), FilterError> {
    let of_a_file = [bits(3, libc::MAP_ANONYMOUS as u64, 0), bits(4, 1 << 31, 0)];
    for &call in MAPS {
        // `mmap` in a set means the 32-bit `mmap2` as well: 32-bit C libraries call only that.
        let every = wanted.names(call) || wanted.names("mmap");
        let in_memory = call == "mmap" && rules.arch != NATIVE;
        rules.add(call, if every || in_memory { &[] } else { &of_a_file })?;
    }
    Ok(())
}

/// Returns the condition that the bits of argument `index` under `mask` are `value`.
fn bits(index: u32, mask: u64, value: u64) -> ScmpArgCompare {
    ScmpArgCompare::new(index, ScmpCompareOp::MaskedEqual(mask), value)
}

/// The filter of one table of calls, under construction.
struct Rules {
    context: ScmpFilterContext,
    arch: ScmpArch,
    /// The action of the rules: the opposite of the action for all other calls.
    action: ScmpAction,
}

impl Rules {
    fn new(profile: Profile, arch: ScmpArch) -> Result<Self, FilterError> {
        let (others, action) = match profile {
            Profile::Kcov => (ScmpAction::Allow, ScmpAction::Notify),
            Profile::Syzkaller | Profile::All => (ScmpAction::Notify, ScmpAction::Allow),
        };
        let mut context = ScmpFilterContext::new(others).map_err(BuildError::library("new filter"))?;
        if arch != NATIVE {
            context.add_arch(arch).map_err(BuildError::library("add architecture"))?;
            context.remove_arch(NATIVE).map_err(BuildError::library("remove architecture"))?;
        }
        context
            .set_act_badarch(ScmpAction::Allow)
            .map_err(BuildError::library("set action for other architectures"))?;
        sort_by_number(&mut context);
        Ok(Rules { context, arch, action })
    }

    /// Adds a rule for `call`, unless this table of calls lacks it.
    fn add(&mut self, call: &str, conditions: &[ScmpArgCompare]) -> Result<(), FilterError> {
        match by_name(call).ok_or_else(|| FilterError::Unknown(call.to_owned()))? {
            Known::Library(number) if in_table(call, self.arch) => self
                .context
                .add_rule_conditional(self.action, number, conditions)
                .map(drop)
                .map_err(|source| BuildError::library(call)(source).into()),
            // Added without libseccomp: see `numbers`.
            Known::Library(_) | Known::Number(_) => Ok(()),
        }
    }
}

/// Returns whether a table has the call, by its own number or as one of the calls that share `socketcall` or
/// `ipc`. libseccomp gives those the numbers from -100 to -299, and the calls that a table lacks numbers from
/// -10,000 downward.
fn in_table(call: &str, arch: ScmpArch) -> bool {
    ScmpSyscall::from_name_by_arch(call, arch).is_ok_and(|number| number.as_raw_syscall() > -1000)
}
