//! Names of system calls: those that libseccomp knows, and newer ones.

use crate::launch::parse;
use libseccomp::{ScmpArch, ScmpSyscall};

/// Calls that libseccomp 2.5 may not know, by number. From 424 on, a call has the same number on every
/// architecture, including i386 (`arch/x86/entry/syscalls/syscall_32.tbl`, Linux 6.18), so the number
/// identifies it.
pub const NEWER_CALLS: &[(&str, u32)] = &[
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// The name of system call `number` on `arch` (`AUDIT_ARCH_*`), or its number if it has no known name.
#[must_use]
pub fn call_name(arch: u32, number: i32) -> String {
    let arch = if arch == AUDIT_ARCH_I386 { ScmpArch::X86 } else { ScmpArch::Native };
    ScmpSyscall::from(number).get_name_by_arch(arch).unwrap_or_else(|_| number.to_string())
}

/// Numbers below this one are tried to list all names.
const NUMBERS: i32 = 1024;
/// Maximum number of names that an error suggests.
const SUGGESTIONS: usize = 3;

/// How a filter identifies a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// By libseccomp's name, which it resolves for each architecture.
    Library(ScmpSyscall),
    /// By its number, which is the same on every architecture.
    Number(u32),
}

/// The call of this name, if an architecture of this machine has it.
#[must_use]
pub fn by_name(name: &str) -> Option<Known> {
    let newer =
        || NEWER_CALLS.iter().find(|(known, _)| *known == name).map(|&(_, number)| Known::Number(number));
    ScmpSyscall::from_name(name).ok().map(Known::Library).or_else(newer)
}

/// Names that `name` may be a misspelling of, the most similar first.
pub fn nearest(name: &str) -> Vec<String> {
    let mut names = parse::nearest(name, every_name());
    names.truncate(SUGGESTIONS);
    names
}

fn every_name() -> Vec<String> {
    let tables = [ScmpArch::Native, ScmpArch::X86];
    let listed = tables.into_iter().flat_map(|table| {
        (0..NUMBERS).filter_map(move |number| ScmpSyscall::from(number).get_name_by_arch(table).ok())
    });
    listed.chain(NEWER_CALLS.iter().map(|(name, _)| (*name).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_calls_have_the_numbers_that_libseccomp_knows() {
        for &(name, number) in NEWER_CALLS {
            if let Some(Known::Library(call)) = by_name(name) {
                assert_eq!(i64::from(call.as_raw_syscall()), i64::from(number), "{name}");
            }
        }
    }
}
