//! What the machine is set to, beside its kernel.

use super::finding::{Finding, Level};
use crate::launch::cgroup;
use crate::launch::descriptor_limit;
use crate::launch::programs;
use crate::launch::quotas::Quotas;
use nix::errno::Errno;
use nix::sys::inotify::{InitFlags, Inotify};
use nix::sys::statfs::{PROC_SUPER_MAGIC, statfs};
use std::fs;
use std::path::Path;

/// Descriptors below which a fuzzer of some dozen processes may run out: two an instance, one a collecting thread.
const DESCRIPTORS: u64 = 4096;
/// Target of `/proc/self/ns/pid` in the first namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const FIRST_PIDS: &str = "pid:[4026531836]";

/// What was found.
pub fn findings() -> Vec<Finding> {
    vec![procfs(), tracing(), device(), descriptors(), watches(), landlock(), control_groups(), worker()]
}

fn procfs() -> Finding {
    let is_proc = statfs("/proc").is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC);
    let own =
        fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == &*std::process::id().to_string());
    let first = fs::read_link("/proc/self/ns/pid").is_ok_and(|target| target.as_os_str() == FIRST_PIDS);
    let found = match first {
        true => "mounted",
        false => "mounted, of a PID namespace of a container's; the command must stay in that or below",
    };
    let finding = Finding::ok("procfs", "descriptors, paths and states of the command", found);
    match (is_proc, own) {
        (true, true) => finding,
        (false, _) => finding.but(Level::Missing, "no procfs at /proc", "mount -t proc proc /proc"),
        (true, false) => {
            let found = "that at /proc is of another PID namespace";
            finding.but(Level::Missing, found, "mount -t proc proc /proc, in this PID namespace")
        }
    }
}

/// Yama's switch: 3 forbids it to everybody, root too (`Documentation/admin-guide/LSM/Yama.rst`).
fn tracing() -> Finding {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let finding =
        Finding::ok("ptrace scope", "reading the arguments of the command's calls", "not restricted");
    match scope.trim() {
        "" | "0" => finding,
        "3" => {
            finding.but(Level::Missing, "3: nobody may", "kernel.yama.ptrace_scope=2 or less, by a reboot")
        }
        scope => Finding { found: format!("{scope}: no hindrance here"), ..finding },
    }
}

fn device() -> Finding {
    let path = Path::new("/sys/kernel/debug/kcov");
    let found = match path.symlink_metadata() {
        Ok(_) => "this kernel has it; the command sees that of kcov-broker in its stead",
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            "not for this user to see; the command sees that of kcov-broker"
        }
        Err(_) => "this kernel has none, nor needs it",
    };
    Finding::ok("real KCOV", "telling the two apart", found)
}

fn descriptors() -> Finding {
    let finding =
        |found| Finding::ok("descriptors", "devices that are open at a time: each takes two", found);
    match descriptor_limit::reachable(Quotas::default().instances) {
        Ok(limit) if limit >= DESCRIPTORS => finding(format!("up to {limit}")),
        Ok(limit) => {
            let way_out = "a higher hard limit: `ulimit -Hn`, LimitNOFILE= of the unit";
            finding(String::new()).but(Level::Limited, format!("up to {limit}"), way_out)
        }
        Err(errno) => finding(String::new()).but(Level::Limited, errno.to_string(), "see getrlimit(2)"),
    }
}

fn watches() -> Finding {
    let finding =
        Finding::ok("inotify", "noticing the close of devices opened in unusual modes", "can be had");
    match Inotify::init(InitFlags::IN_CLOEXEC) {
        Ok(_) => finding,
        Err(Errno::EMFILE) => finding.but(
            Level::Limited,
            "this user has as many instances as allowed",
            "more by `sysctl -w fs.inotify.max_user_instances=1024`",
        ),
        Err(errno) => finding.but(Level::Limited, errno.to_string(), "see inotify_init(2)"),
    }
}

/// A second lock beside namespaces and filter, which hold without it.
fn landlock() -> Finding {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let found = match modules.trim().split(',').any(|name| name == "landlock") {
        true => "denies the workers files and network once more",
        false => {
            "not to be seen here (Linux 5.13, lsm=landlock); the workers' namespaces and filter deny the same"
        }
    };
    Finding::ok("Landlock", "a second lock on the workers' jail", found)
}

/// None is no hindrance: runs have them on demand alone.
fn control_groups() -> Finding {
    let limits = cgroup::Limits::of_tenant(u64::MAX, 0);
    let found = match cgroup::find(&cgroup::Parent::Own, limits) {
        Ok(_) => "can be made below this program's own: --cgroup own".to_owned(),
        Err(error) => format!("--cgroup own cannot be had: {error}"),
    };
    Finding::ok("control groups", "a bound on all memory of the workers", found)
}

fn worker() -> Finding {
    let finding = |found| Finding::ok("worker program", "handling the command's calls", found);
    let executable = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK);
    match programs::worker(None) {
        Ok(path) if executable(&path).is_ok() => finding(path.display().to_string()),
        Ok(path) => {
            let found = format!("{} may not be executed by this user", path.display());
            finding(String::new()).but(Level::Missing, found, "chmod a+rx")
        }
        Err(error) => {
            let way_out = "put kcov-worker beside kcov-broker, or name it with --worker";
            finding(String::new()).but(Level::Missing, format!("{error:#}"), way_out)
        }
    }
}
