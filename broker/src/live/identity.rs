//! The identity of this process and of the running system, as segments record it.

use crate::sys::procfs;
use kcov_proto::view::Identity;
use nix::sys::stat::stat;
use nix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::Duration;

/// The identity of this process.
#[must_use]
pub fn identity() -> Identity {
    let pid = std::process::id();
    Identity {
        boot: boot(),
        pid_namespace: pid_namespace(),
        pid,
        start: procfs::stat(pid).map_or(0, |stat| stat.started),
    }
}

/// The boot id of the running kernel; 0 if it cannot be read.
#[must_use]
pub fn boot() -> u128 {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim_end().replace('-', ""), 16).unwrap_or_default()
}

/// The inode of this process's PID namespace; 0 if it cannot be read.
#[must_use]
pub fn pid_namespace() -> u64 {
    stat("/proc/self/ns/pid").map_or(0, |facts| facts.st_ino)
}

/// `CLOCK_MONOTONIC` in nanoseconds.
#[must_use]
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}
