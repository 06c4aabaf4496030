//! Checks features of the kernel by using them. Versions would not tell: distributions backport features, and
//! containers disable them.

use super::finding::{Finding, Level};
use crate::launch::trace_set::TraceSet;
use crate::launch::trial;
use crate::sandbox::filter;
use crate::sys::fork::exit_now;
use crate::sys::process::pidfd_open;
use crate::sys::{self, fork, memfd, pidfd};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::wait::waitpid;
use std::os::fd::{AsFd, OwnedFd};

/// `MFD_NOEXEC_SEAL` (`include/uapi/linux/memfd.h`).
const NOEXEC_SEAL: libc::c_uint = 0x8;

/// Runs the checks.
pub fn findings() -> Vec<Finding> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut all = vec![
        Finding::ok(
            "kernel",
            "the features below",
            format!("Linux {} on {}", release.trim(), std::env::consts::ARCH),
        ),
        wait_killable(),
    ];
    all.extend(listener());
    all.extend([filter(), pidfd_of_thread(), noexec_seal(), leases(), exit_of_reaped(), creators()]);
    all
}

fn wait_killable() -> Finding {
    let finding =
        Finding::ok("WAIT_KILLABLE_RECV", "signals: without it, a call could be executed twice", "supported");
    match sys::filter::check_kernel() {
        Ok(()) => finding,
        Err(error) => finding.but(Level::Missing, error.to_string(), "use Linux 5.19 or newer"),
    }
}

/// Checks seccomp listeners and one of their features.
fn listener() -> [Finding; 2] {
    let supervise = Finding::ok("seccomp listener", "receiving the command's calls", "supported");
    let wake =
        Finding::ok("SYNC_WAKE_UP", "speed: without it, a call may take 20 times as long", "supported");
    let unknown = |wake: Finding| wake.but(Level::Limited, "not checked without a listener", "see there");
    let tried = trial::in_child(|| sys::filter::try_listener().map_err(|errno| errno as i32))
        .map_err(|error| error.to_string());
    match tried.map(|installed| installed.map_err(Errno::from_raw)) {
        Ok(Ok(true)) => [supervise, wake],
        Ok(Ok(false)) => {
            let old = wake.but(Level::Limited, "not supported", "use Linux 6.6 or newer");
            [supervise, old]
        }
        Ok(Err(Errno::EBUSY)) => {
            let found = "this process is already supervised, and the kernel permits only one listener";
            let way_out = "start kcov-broker outside of the other kcov-broker, container or sandbox";
            [supervise.but(Level::Missing, found, way_out), unknown(wake)]
        }
        Ok(Err(errno)) => {
            let way_out = "a container or sandbox forbids seccomp(2): make it permit that";
            [supervise.but(Level::Missing, errno.to_string(), way_out), unknown(wake)]
        }
        Err(error) => [supervise.but(Level::Missing, error, "see the message"), unknown(wake)],
    }
}

fn filter() -> Finding {
    let finding = Finding::ok("filter", "trapping the command's calls", "built by libseccomp");
    let built = "every".parse::<TraceSet>().map_err(|error| error.to_string());
    match built.and_then(|set| filter::build(&set).map_err(|error| error.to_string())) {
        Ok(_) => finding,
        Err(error) => finding.but(Level::Missing, error, "use libseccomp 2.5 or newer"),
    }
}

fn pidfd_of_thread() -> Finding {
    let finding =
        Finding::ok("PIDFD_THREAD", "distinguishing a thread from a later one with the same id", "supported");
    match pidfd_open(nix::unistd::gettid().as_raw().cast_unsigned(), true) {
        Ok(_) => finding,
        Err(errno) => finding.but(Level::Limited, errno.to_string(), "use Linux 6.9 or newer"),
    }
}

fn noexec_seal() -> Finding {
    let finding = Finding::ok("MFD_NOEXEC_SEAL", "areas that cannot be executed as programs", "supported");
    match memfd_create(c"kcov-probe", MFdFlags::MFD_CLOEXEC | MFdFlags::from_bits_retain(NOEXEC_SEAL)) {
        Ok(_) => finding,
        Err(errno) => finding.but(Level::Limited, errno.to_string(), "use Linux 6.3 or newer"),
    }
}

fn leases() -> Finding {
    let finding = Finding::ok("file leases", "detecting the last close of a device", "permitted");
    match memfd::create(c"kcov-probe").and_then(|file| memfd::has_no_writer(file.as_fd())) {
        Ok(true) => finding,
        Ok(false) => {
            finding.but(Level::Limited, "refused for a file without other users", "use Linux 5.19 or newer")
        }
        Err(errno) => {
            finding.but(Level::Limited, errno.to_string(), "permit them with `sysctl -w fs.leases-enable=1`")
        }
    }
}

fn exit_of_reaped() -> Finding {
    let finding = Finding::ok("PIDFD_INFO_EXIT", "reporting the signal that killed a worker", "supported");
    match end_of_child() {
        Ok(Some(_)) => finding,
        Ok(None) => finding.but(Level::Limited, "not supported", "use Linux 6.15 or newer"),
        Err(errno) => finding.but(Level::Limited, errno.to_string(), "use Linux 6.15 or newer"),
    }
}

fn creators() -> Finding {
    let finding =
        Finding::ok("PROC_CHILDREN", "inheriting a common handle where fork is not traced", "supported");
    let way_out = "trace clone, clone3, fork and vfork, or use a kernel with CONFIG_PROC_CHILDREN";
    match std::fs::read("/proc/thread-self/children") {
        Ok(_) => finding,
        Err(error) => finding.but(Level::Limited, error.to_string(), way_out),
    }
}

/// The exit status of a reaped child, from its pidfd.
fn end_of_child() -> Result<Option<i32>, Errno> {
    let child = fork::child(|| exit_now(7))?;
    let pidfd: Result<OwnedFd, Errno> = pidfd_open(child.as_raw().cast_unsigned(), false);
    waitpid(child, None)?;
    Ok(pidfd::exit_status(pidfd?.as_fd()))
}
