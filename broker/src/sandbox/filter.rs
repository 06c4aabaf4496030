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

mod profiles;

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
use profiles::{EXECUTOR_LOOP, INTERRUPTIBLE, PROBED, ProfileCall};
use std::collections::BTreeMap;

/// The table of calls of this machine's native programs.
const NATIVE: ScmpArch = if cfg!(target_arch = "aarch64") { ScmpArch::Aarch64 } else { ScmpArch::X8664 };
/// The table of calls of its 32-bit programs.
const COMPAT: ScmpArch = if cfg!(target_arch = "aarch64") { ScmpArch::Arm } else { ScmpArch::X86 };

/// Calls of the device whatever their arguments: they change the caller's thread id.
const EXECS: &[&str] = &["execve", "execveat"];
/// Calls that open a path. Only for tenants whose handlers have devices.
pub const OPENS: &[&str] = &["open", "openat", "openat2", "creat"];
/// Calls that map memory.
const MAPS: &[&str] = &["mmap", "mmap2"];

/// `ioctl` requests of the KCOV device.
const DEVICE_REQUESTS: [u32; 6] =
    [abi::INIT_TRACE, abi::ENABLE, abi::DISABLE, abi::REMOTE_ENABLE, abi::UNIQUE_ENABLE, abi::RESET_TRACE];

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
    let listed = Traced::of(set, claims);
    let program = both_tables(|arch| listed_table(&listed, arch))?.with_notified(&listed.numbers());
    if !set.has(Profile::Every) {
        return Ok(program);
    }
    let every = both_tables(every_table)?;
    Ok(match set.removed().next() {
        None => every,
        // Calls that are left out are judged by the other program, which knows those that the device and handlers need.
        Some(_) => every.except(&left_out(set), &program),
    })
}

fn both_tables(
    table: impl Fn(ScmpArch) -> Result<ScmpFilterContext, FilterError>,
) -> Result<Bpf, FilterError> {
    let mut whole = table(NATIVE)?;
    whole.merge(table(COMPAT)?).map_err(BuildError::library("merge"))?;
    Ok(Bpf::export(&whole)?)
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

/// Whether the set contains calls that never return `EINTR` without tracing, besides those of the device and of handlers.
#[must_use]
pub fn traces_uninterruptible(set: &TraceSet) -> bool {
    let is_interruptible =
        |name: &str| INTERRUPTIBLE.iter().any(|call| call.name == name && call.when.is_empty());
    let of_device = |name: &str| EXECS.contains(&name);
    set.has(Profile::Every) || set.calls().any(|name| !is_interruptible(name) && !of_device(name))
}

/// When a call is traced.
#[derive(Clone, Debug)]
enum When {
    /// Whatever its arguments.
    Always,
    /// If all conditions of one of these hold.
    Any(Vec<Vec<ScmpArgCompare>>),
}

/// The calls that are traced, by name.
#[derive(Debug, Default)]
struct Traced(BTreeMap<String, When>);

impl Traced {
    /// The calls of a set, of the device and of handlers; of [`Profile::Every`] only what the device needs.
    fn of(set: &TraceSet, claims: &Claims) -> Self {
        let mut traced = Traced::default();
        traced.add_device(claims);
        let mut profiles: Vec<&ProfileCall> = Vec::new();
        if set.has(Profile::All) {
            profiles.extend(INTERRUPTIBLE);
        }
        if set.has(Profile::Syzkaller) {
            profiles.extend(INTERRUPTIBLE.iter().filter(|call| !EXECUTOR_LOOP.contains(&call.name)));
            profiles.extend(PROBED);
        }
        for call in profiles.into_iter().filter(|call| !set.removes(call.name)) {
            traced.add(call.name, call.when.iter().map(|&(at, mask, value)| bits(at, mask, value)).collect());
        }
        for call in set.calls() {
            traced.add(call, Vec::new());
        }
        for CallClaim { call, when } in claims.calls() {
            traced.add(call, when.iter().map(|c| bits(u32::from(c.argument), c.mask, c.value)).collect());
        }
        // `mmap` in a set means the 32-bit `mmap2` as well: 32-bit C libraries call only that.
        if matches!(traced.0.get("mmap"), Some(When::Always)) {
            traced.add("mmap2", Vec::new());
        }
        traced
    }

    /// Adds what the device needs.
    fn add_device(&mut self, claims: &Claims) {
        EXECS.iter().for_each(|call| self.add(call, Vec::new()));
        let blocks = claims.devices().flat_map(|device| device.blocks());
        let device = DEVICE_REQUESTS.map(|request| RequestBlock { mask: u32::MAX, value: request });
        for RequestBlock { mask, value } in blocks.chain(device) {
            self.add("ioctl", vec![bits(1, u64::from(mask), u64::from(value))]);
        }
        if claims.devices().next().is_some() {
            OPENS.iter().for_each(|call| self.add(call, Vec::new()));
        }
        // Shared mappings of a file. The kernel reads the descriptor only without `MAP_ANONYMOUS` (`ksys_mmap_pgoff`,
        // Linux 6.12), and returns `EBADF` if it is negative. `MAP_SHARED` and `MAP_SHARED_VALIDATE` have the lowest bit.
        let shared = (libc::MAP_ANONYMOUS | libc::MAP_SHARED) as u64;
        let of_a_file = [bits(3, shared, libc::MAP_SHARED as u64), bits(4, 1 << 31, 0)];
        MAPS.iter().for_each(|call| self.add(call, of_a_file.to_vec()));
    }

    fn add(&mut self, call: &str, conditions: Vec<ScmpArgCompare>) {
        let when = self.0.entry(call.to_owned()).or_insert(When::Any(Vec::new()));
        match when {
            _ if conditions.is_empty() => *when = When::Always,
            When::Always => {}
            When::Any(all) => all.push(conditions),
        }
    }

    /// The numbers of calls that libseccomp does not know. They are the same in every table.
    fn numbers(&self) -> Vec<u32> {
        let number = |call: &String| match by_name(call) {
            Some(Known::Number(number)) => Some(number),
            Some(Known::Library(_)) | None => None,
        };
        self.0.keys().filter_map(number).collect()
    }
}

/// The numbers of the calls that are left out, in the native table and in the 32-bit one.
fn left_out(set: &TraceSet) -> [Vec<u32>; 2] {
    let calls = || set.removed().chain(MAPS.iter().copied().filter(|call| set.removes(call)));
    [NATIVE, COMPAT].map(|arch| {
        let number = |call| match by_name(call)? {
            Known::Number(number) => Some(number),
            Known::Library(_) => {
                let number = ScmpSyscall::from_name_by_arch(call, arch).ok()?;
                u32::try_from(number.as_raw_syscall()).ok()
            }
        };
        calls().filter_map(number).collect()
    })
}

/// The rules for one table of calls, of which only `traced` are notified. Each table has its own context: i386 passes the
/// arguments of `mmap` in another way.
fn listed_table(traced: &Traced, arch: ScmpArch) -> Result<ScmpFilterContext, FilterError> {
    let mut rules = Rules::new(ScmpAction::Allow, ScmpAction::Notify, arch)?;
    for (call, when) in &traced.0 {
        // i386's `mmap` (90) has its arguments in memory, which a filter cannot read.
        let in_memory = call == "mmap" && arch != NATIVE;
        match when {
            When::Any(all) if !in_memory => all.iter().try_for_each(|one| rules.add(call, one))?,
            When::Any(_) | When::Always => rules.add(call, &[])?,
        }
    }
    Ok(rules.context)
}

/// The rules for one table of calls, all of which are notified but those that never can be.
fn every_table(arch: ScmpArch) -> Result<ScmpFilterContext, FilterError> {
    let mut rules = Rules::new(ScmpAction::Notify, ScmpAction::Allow, arch)?;
    NEVER_TRACED.iter().try_for_each(|call| rules.add(call, &[]))?;
    Ok(rules.context)
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
    fn new(others: ScmpAction, action: ScmpAction, arch: ScmpArch) -> Result<Self, FilterError> {
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
            // Added without libseccomp: see [`Traced::numbers`].
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
