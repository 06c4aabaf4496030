//! A replacement for the coverage runtime: an archive of empty functions.

use super::values;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the archive in the output directory.
const NAME: &str = "libkcov_no_runtime.rlib";
/// The functions that code with the flags of `kcov-broker cargo` calls. Their arguments are in registers and
/// ignored.
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

/// The flag that makes this call of rustc link the archive, after everything else. Makes the archive if it
/// does not exist.
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

/// Compiles the archive. Several processes may do so at the same time with the same result; the last rename
/// wins.
fn make(rustc: &OsStr, target: Option<&str>, archive: &Path) -> Option<()> {
    let unfinished = archive.with_extension(format!("{:016x}.rlib", RandomState::new().hash_one(archive)));
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
