//! The coverage runtime where there is none: an archive of functions that do nothing.

use super::values;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Its name in the folder of what is built.
const NAME: &str = "libkcov_no_runtime.rlib";
/// What code calls that has the flags of `kcov-broker cargo`. Arguments are in registers, and not looked at.
const SOURCE: &str = r#"#![no_std]
macro_rules! nothing {
    ($($name:ident)*) => { $(#[unsafe(no_mangle)] pub extern "C" fn $name() {})* };
}
nothing! {
    __sanitizer_cov_trace_pc_guard __sanitizer_cov_trace_pc_guard_init __sanitizer_cov_pcs_init
    __sanitizer_cov_trace_cmp1 __sanitizer_cov_trace_cmp2 __sanitizer_cov_trace_cmp4 __sanitizer_cov_trace_cmp8
    __sanitizer_cov_trace_const_cmp1 __sanitizer_cov_trace_const_cmp2 __sanitizer_cov_trace_const_cmp4
    __sanitizer_cov_trace_const_cmp8 __sanitizer_cov_trace_switch
}
"#;

/// The flag that links the archive behind all else, for this call of rustc. Makes it, if it is not there.
pub(super) fn link_argument(rustc: &OsStr, arguments: &[OsString]) -> Option<OsString> {
    let folder = PathBuf::from(values(arguments, "--out-dir").next()?.into_owned());
    let archive = folder.join(NAME);
    if !archive.is_file() {
        make(rustc, values(arguments, "--target").next().as_deref(), &archive)?;
    }
    let mut argument = OsString::from("-Clink-arg=");
    argument.push(&archive);
    Some(argument)
}

/// Compiles it. Others may do so at the same time: whoever is last has the same.
fn make(rustc: &OsStr, target: Option<&str>, archive: &Path) -> Option<()> {
    let unfinished = archive.with_extension(format!("{}.rlib", std::process::id()));
    let mut command = Command::new(rustc);
    command.args(["--crate-name", "kcov_no_runtime", "--crate-type", "rlib", "--edition", "2024"]);
    command.args(["-Cpanic=abort", "-o"]).arg(&unfinished).arg("-").stdin(Stdio::piped());
    command.args(target.into_iter().flat_map(|target| ["--target", target]));
    let mut child = command.spawn().ok()?;
    let written = child.stdin.take()?.write_all(SOURCE.as_bytes());
    let made = child.wait().ok()?.success() && written.is_ok();
    if !made {
        let _ = fs::remove_file(&unfinished);
        return None;
    }
    fs::rename(unfinished, archive).ok()
}
