//! Checks the configuration of the machine.

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

/// With fewer descriptors, a fuzzer with some dozen processes may run out of them: each instance needs two.
const DESCRIPTORS: u64 = 4096;
/// Target of `/proc/self/ns/pid` in the initial namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_PIDS: &str = "pid:[4026531836]";

/// Runs the checks.
pub fn findings() -> Vec<Finding> {
    vec![
        procfs(),
        tracing(),
        device(),
        descriptors(),
        watches(),
        landlock(),
        control_groups(),
        kcov(),
        worker(),
    ]
}

/// What the device offers by default, for users who look for a request that current kernels do not have.
fn kcov() -> Finding {
    let found = "rules of Linux 7.2 (--kcov-rules); KCOV_RESET_TRACE and KCOV_UNIQUE_ENABLE (--extensions)";
    Finding::ok("KCOV device", "what commands may request of it", found)
}

fn procfs() -> Finding {
    let is_proc = statfs("/proc").is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC);
    let own =
        fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == &*std::process::id().to_string());
    let first = fs::read_link("/proc/self/ns/pid").is_ok_and(|target| target.as_os_str() == INITIAL_PIDS);
    let found = match first {
        true => "mounted",
        false => "mounted, for the PID namespace of a container; the command must stay in it or in one below",
    };
    let finding = Finding::ok("procfs", "descriptors, paths and states of the command", found);
    match (is_proc, own) {
        (true, true) => finding,
        (false, _) => finding.but(Level::Missing, "there is no procfs at /proc", "mount -t proc proc /proc"),
        (true, false) => {
            let found = "the procfs at /proc belongs to another PID namespace";
            finding.but(Level::Missing, found, "mount -t proc proc /proc, in this PID namespace")
        }
    }
}

/// Yama's sysctl: 3 forbids ptrace for everybody, including root (`Documentation/admin-guide/LSM/Yama.rst`).
fn tracing() -> Finding {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let finding =
        Finding::ok("ptrace scope", "reading the arguments of the command's calls", "not restricted");
    match scope.trim() {
        "" | "0" => finding,
        "3" => finding.but(
            Level::Missing,
            "3: forbidden for everybody",
            "set kernel.yama.ptrace_scope to 2 or less, and reboot",
        ),
        scope => Finding { found: format!("{scope}: does not affect kcov-broker"), ..finding },
    }
}

fn device() -> Finding {
    let path = Path::new("/sys/kernel/debug/kcov");
    let found = match path.symlink_metadata() {
        Ok(_) => "supported by this kernel; the command sees that of kcov-broker instead",
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            "not visible to this user; the command sees that of kcov-broker"
        }
        Err(_) => "not supported by this kernel, and not needed",
    };
    Finding::ok("real KCOV", "distinguishing the two devices", found)
}

fn descriptors() -> Finding {
    let finding = |found| Finding::ok("descriptors", "open devices: each needs two", found);
    match descriptor_limit::reachable(Quotas::default().instances) {
        Ok(limit) if limit >= DESCRIPTORS => finding(format!("up to {limit}")),
        Ok(limit) => {
            let way_out = "raise the hard limit: `ulimit -Hn`, LimitNOFILE= of the unit";
            finding(String::new()).but(Level::Limited, format!("up to {limit}"), way_out)
        }
        Err(errno) => finding(String::new()).but(Level::Limited, errno.to_string(), "see getrlimit(2)"),
    }
}

fn watches() -> Finding {
    let finding =
        Finding::ok("inotify", "detecting the close of devices opened in unusual modes", "available");
    match Inotify::init(InitFlags::IN_CLOEXEC) {
        Ok(_) => finding,
        Err(Errno::EMFILE) => finding.but(
            Level::Limited,
            "this user has reached the limit of instances",
            "raise it with `sysctl -w fs.inotify.max_user_instances=1024`",
        ),
        Err(errno) => finding.but(Level::Limited, errno.to_string(), "see inotify_init(2)"),
    }
}

/// Landlock only adds to namespaces and filter, which are sufficient without it.
fn landlock() -> Finding {
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let found = match modules.trim().split(',').any(|name| name == "landlock") {
        true => "also denies files and network to the workers",
        false => {
            "not visible here (Linux 5.13, lsm=landlock); namespaces and filter of the workers deny the same"
        }
    };
    Finding::ok("Landlock", "a second barrier around the workers", found)
}

/// Not a problem if there are none: runs only use them on request.
fn control_groups() -> Finding {
    let limits = cgroup::Limits::of_tenant(u64::MAX, 0);
    let found = match cgroup::find(&cgroup::Parent::Own, limits) {
        Ok(_) => "can be made below that of this program: --cgroup own".to_owned(),
        Err(error) => format!("--cgroup own is not possible: {error}"),
    };
    Finding::ok("control groups", "limiting all memory of the workers", found)
}

fn worker() -> Finding {
    let finding = |found| Finding::ok("worker program", "handling the command's calls", found);
    let executable = |path: &Path| nix::unistd::access(path, nix::unistd::AccessFlags::X_OK);
    match programs::worker(None) {
        Ok(path) if executable(&path).is_ok() => finding(path.display().to_string()),
        Ok(path) => {
            let found = format!("this user may not execute {}", path.display());
            finding(String::new()).but(Level::Missing, found, "chmod a+rx the file")
        }
        Err(error) => {
            let way_out = "put kcov-worker in the directory of kcov-broker, or name it with --worker";
            finding(String::new()).but(Level::Missing, format!("{error:#}"), way_out)
        }
    }
}
