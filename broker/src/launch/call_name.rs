//! Names of system calls, for the log.

use libseccomp::{ScmpArch, ScmpSyscall};

const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// The name of call `number` on `arch` (`AUDIT_ARCH_*`), or the number.
#[must_use]
pub fn of(arch: u32, number: i32) -> String {
    let arch = if arch == AUDIT_ARCH_I386 { ScmpArch::X86 } else { ScmpArch::Native };
    ScmpSyscall::from(number).get_name_by_arch(arch).unwrap_or_else(|_| number.to_string())
}
